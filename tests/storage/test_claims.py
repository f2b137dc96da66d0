import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from storage.control import request_pause, resume_job
from storage.engine import make_engine, reading
from storage.jobs import create_job
from storage.leases import Lease, claim_next, release
from storage.owners import Owner
from storage.repositories import Jobs
from storage.tables import JobState
from tests.storage.builders import events, job, spec


def test_the_most_urgent_job_goes_first_and_then_the_oldest(engine: Engine) -> None:
    ids = [create_job(engine, spec(priority=p)) for p in (0, 5, -1, 5, 0)]
    owner = Owner.current()

    taken = [claim_next(engine, owner) for _ in range(6)]

    order = [ids[1], ids[3], *sorted([ids[0], ids[4]]), ids[2]]
    assert [lease.job_id for lease in taken if lease is not None] == order
    assert taken[-1] is None


def test_only_ready_jobs_are_taken(engine: Engine) -> None:
    paused, ended = create_job(engine, spec()), create_job(engine, spec())
    request_pause(engine, paused)
    lease = claim_next(engine, Owner.current())
    assert lease is not None
    assert lease.job_id == ended
    release(engine, lease, JobState.SUCCEEDED)

    assert claim_next(engine, Owner.current()) is None
    resume_job(engine, paused)
    assert claim_next(engine, Owner.current()) is not None


def test_a_claim_is_an_event_and_begins_the_next_attempt(engine: Engine, job_id: str) -> None:
    owner = Owner.current()

    lease = claim_next(engine, owner, length_s=90.0)

    assert lease == Lease(job_id=job_id, owner=owner.id, attempt=1, generation=-1, length_s=90.0)
    assert events(engine, job_id)[-1].data == {"state": "LEASED", "attempt": 1}
    assert (job(engine, job_id).owner, job(engine, job_id).version) == (owner.id, 2)


def test_a_lease_ends_by_the_clock_of_the_database(engine: Engine, job_id: str) -> None:
    claim_next(engine, Owner.current(), length_s=90.0)

    clock = {
        "sqlite": "SELECT (julianday(lease_until) - julianday('now')) * 86400 FROM job",
        "postgresql": "SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM job",
    }
    with reading(engine) as connection:
        left = float(connection.execute(text(clock[engine.dialect.name])).scalar_one())
    assert 80.0 < left <= 90.01


def test_of_many_threads_each_job_goes_to_one(engine: Engine) -> None:
    ids = {create_job(engine, spec()) for _ in range(20)}

    def take_all(_: int) -> list[str]:
        owner, taken = Owner.current(), []
        while (lease := claim_next(engine, owner)) is not None:
            taken.append(lease.job_id)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = [job_id for found in threads.map(take_all, range(4)) for job_id in found]

    assert sorted(taken) == sorted(ids)


@pytest.mark.slow
def test_of_many_processes_each_job_goes_to_one(engine: Engine, url: str) -> None:
    ids = {create_job(engine, spec()) for _ in range(40)}
    spawn = multiprocessing.get_context("spawn")
    results: multiprocessing.SimpleQueue[list[str]] = spawn.SimpleQueue()
    processes = [spawn.Process(target=_complete_all, args=(url, results)) for _ in range(2)]
    for process in processes:
        process.start()
    done = [job_id for _ in processes for job_id in results.get()]
    for process in processes:
        process.join()

    assert sorted(done) == sorted(ids)
    with reading(engine) as connection:
        assert len(Jobs(connection).all(state=JobState.SUCCEEDED)) == 40


def _complete_all(url: str, results: "multiprocessing.SimpleQueue[list[str]]") -> None:
    engine, owner, done = make_engine(url), Owner.current(), []
    while (lease := claim_next(engine, owner)) is not None:
        release(engine, lease, JobState.SUCCEEDED)
        done.append(lease.job_id)
    engine.dispose()
    results.put(done)


def test_claims_on_sqlite_walk_the_index_of_ready_jobs(sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as connection:
        plan = connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT id FROM job WHERE state = 'READY' "
                "ORDER BY priority DESC, id LIMIT 1"
            )
        ).all()

    assert [row.detail for row in plan] == ["SCAN job USING INDEX ix_job_ready"]
