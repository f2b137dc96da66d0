import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier

import pytest
from sqlalchemy import Engine, select, update

from dse.errors import FencedOutError, UnknownNameError
from storage.engine import make_engine, reading
from storage.leases import LEASE_S, claim, heartbeat, release
from storage.owners import Owner
from storage.repositories import Job, Jobs, Results
from storage.tables import JobRow, JobState
from tests.storage.builders import ghost, take


def test_a_ready_job_is_taken_once(engine: Engine, job_id: str) -> None:
    lease = claim(engine, job_id, Owner.current())
    again = claim(engine, job_id, Owner.current())

    assert lease is not None
    assert (lease.attempt, lease.generation, again) == (1, -1, None)
    assert _job(engine, job_id).state == JobState.LEASED


def test_of_many_threads_one_gets_the_job(engine: Engine, job_id: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        leases = list(threads.map(lambda _: claim(engine, job_id, Owner.current()), range(8)))

    assert len([lease for lease in leases if lease is not None]) == 1


@pytest.mark.slow
def test_of_many_processes_one_gets_the_job(engine: Engine, url: str, job_id: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(3), spawn.SimpleQueue()
    processes = [
        spawn.Process(target=_compete, args=(url, job_id, barrier, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()

    assert sorted(results.get() for _ in processes) == [False, False, True]


def _compete(
    url: str, job_id: str, barrier: Barrier, results: "multiprocessing.SimpleQueue[bool]"
) -> None:
    engine, owner = make_engine(url), Owner.current()
    barrier.wait()
    results.put(claim(engine, job_id, owner) is not None)
    # A process that ended here would leave its lease to the others.
    barrier.wait()


def test_a_job_whose_process_has_ended_is_taken_over_at_once(engine: Engine, job_id: str) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert claim(engine, job_id, Owner.of(child.pid)) is not None
        alive = claim(engine, job_id, Owner.current())
        child.kill()

    taken = claim(engine, job_id, Owner.current())

    assert alive is None
    assert taken is not None
    assert taken.attempt == 2
    assert _job(engine, job_id).crashes == 1


def test_a_killed_process_that_nobody_has_waited_for_is_gone(engine: Engine, job_id: str) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        assert claim(engine, job_id, Owner.of(child.pid)) is not None

        while claim(engine, job_id, Owner.current()) is None:
            pass

        assert child.wait() == 0


def test_a_process_id_that_came_back_is_not_the_owner(engine: Engine, job_id: str) -> None:
    take(engine, job_id, ghost())

    assert claim(engine, job_id, Owner.current()) is not None


def test_a_lease_of_another_host_is_lost_when_it_has_run_out(engine: Engine, job_id: str) -> None:
    take(engine, job_id, replace(ghost(), host="elsewhere", boot="another"))
    early = claim(engine, job_id, Owner.current())

    _set(engine, job_id, lease_until=datetime.now(UTC) - timedelta(seconds=1))
    late = claim(engine, job_id, Owner.current())

    assert early is None
    assert late is not None


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED, JobState.PAUSED])
def test_an_ended_job_is_taken_only_to_resume_it(
    engine: Engine, job_id: str, state: JobState
) -> None:
    release(engine, take(engine, job_id), state, error="stopped")
    plain = claim(engine, job_id, Owner.current())
    resumed = claim(engine, job_id, Owner.current(), resume=[state])

    assert plain is None
    assert resumed is not None
    job = _job(engine, job_id)
    assert (job.error, job.finished_at, job.crashes) == (None, None, 0)


def test_an_unknown_job_cannot_be_claimed(engine: Engine) -> None:
    with pytest.raises(UnknownNameError, match="unknown job 'x'"):
        claim(engine, "x", Owner.current())


def test_a_heartbeat_renews_the_lease_and_not_the_version(engine: Engine, job_id: str) -> None:
    lease = take(engine, job_id)
    version = _job(engine, job_id).version
    _set(engine, job_id, lease_until=datetime.now(UTC))

    heartbeat(engine, lease)

    with reading(engine) as connection:
        until = connection.scalar(select(JobRow.lease_until).where(JobRow.id == job_id))
    assert until is not None
    assert until > datetime.now(UTC) + timedelta(seconds=LEASE_S / 2)
    assert _job(engine, job_id).version == version


def test_a_lost_lease_can_neither_beat_nor_be_released(engine: Engine, job_id: str) -> None:
    lost = take(engine, job_id)
    take(engine, job_id)

    with pytest.raises(FencedOutError, match=f"job {job_id} is no longer held under attempt 1"):
        heartbeat(engine, lost)
    with pytest.raises(FencedOutError, match="no longer held"):
        release(engine, lost, JobState.SUCCEEDED)
    assert _job(engine, job_id).state == JobState.LEASED


def test_a_job_is_released_once(engine: Engine, job_id: str) -> None:
    lease = take(engine, job_id)
    release(engine, lease, JobState.SUCCEEDED)

    with pytest.raises(FencedOutError):
        release(engine, lease, JobState.FAILED)
    assert _job(engine, job_id).state == JobState.SUCCEEDED
    assert _job(engine, job_id).finished_at is not None


def test_states_that_are_no_release_are_refused(engine: Engine, job_id: str) -> None:
    with pytest.raises(ValueError, match="one of READY, PAUSED, .* got LEASED"):
        release(engine, take(engine, job_id), JobState.LEASED)


@pytest.mark.parametrize(
    ("flags", "state", "found"),
    [
        ({"cancel_requested": True}, JobState.READY, JobState.CANCELLED),
        ({"pause_requested": True}, JobState.READY, JobState.PAUSED),
        (
            {"cancel_requested": True, "pause_requested": True},
            JobState.READY,
            JobState.CANCELLED,
        ),
        ({"cancel_requested": True}, JobState.SUCCEEDED, JobState.SUCCEEDED),
        ({}, JobState.READY, JobState.READY),
    ],
)
def test_a_job_that_is_given_back_does_what_it_was_asked_to(
    engine: Engine, job_id: str, flags: dict[str, bool], state: JobState, found: JobState
) -> None:
    lease = take(engine, job_id)
    _set(engine, job_id, updated_at=datetime.now(UTC), **flags)

    released = release(engine, lease, state)

    job = _job(engine, job_id)
    assert released == job.state == found
    assert (job.cancel_requested, job.pause_requested) == (False, False)
    assert (job.finished_at is None) is (found in (JobState.READY, JobState.PAUSED))


def test_every_change_of_state_is_an_event(engine: Engine, job_id: str) -> None:
    release(engine, take(engine, job_id), JobState.READY)
    release(engine, take(engine, job_id), JobState.FAILED, error="no data")

    with reading(engine) as connection:
        events = Results(connection).events(job_id)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert [event.data["state"] for event in events] == [
        "READY",
        "LEASED",
        "READY",
        "LEASED",
        "FAILED",
    ]
    assert events[-1].data == {"state": "FAILED", "attempt": 2, "error": "no data"}
    assert _job(engine, job_id).version == 5


def _job(engine: Engine, job_id: str) -> Job:
    with reading(engine) as connection:
        return Jobs(connection).get(job_id)


def _set(engine: Engine, job_id: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(values))
