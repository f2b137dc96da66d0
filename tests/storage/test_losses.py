from dataclasses import replace

import pytest
from sqlalchemy import Engine, update

from dse.ports import Role
from storage.control import request_cancel, request_pause, resume_job
from storage.engine import reading
from storage.jobs import create_job
from storage.leases import claim_next, release
from storage.losses import free_dead_owners, free_owner, sweep
from storage.owners import Owner
from storage.run_store import SqlRunStore
from storage.tables import JobRow, JobState
from tests.storage.builders import (
    design,
    events,
    far,
    ghost,
    job,
    measured,
    proposals,
    run_generation,
    run_out,
    spec,
    take,
)
from tests.storage.conftest import OpenStore

_HOUR_S = 3600.0


def test_a_lease_from_elsewhere_is_lost_when_it_has_run_out(engine: Engine, job_id: str) -> None:
    take(engine, job_id, far())
    early = sweep(engine)

    run_out(engine, job_id)
    (late,) = sweep(engine)

    assert early == []
    assert (late.job_id, late.state) == (job_id, JobState.READY)
    assert "on elsewhere has not renewed its lease" in late.reason
    assert (job(engine, job_id).crashes, job(engine, job_id).owner) == (1, None)
    last = events(engine, job_id)[-1]
    assert (last.kind, last.data["state"], last.data["crashes"]) == ("job.state", "READY", 1)
    assert last.data["lost"] == late.reason


def test_the_lease_of_a_dead_process_is_lost_at_once(engine: Engine, job_id: str) -> None:
    take(engine, job_id, ghost())

    (loss,) = sweep(engine)

    assert (loss.job_id, loss.state) == (job_id, JobState.READY)
    assert loss.reason.endswith("has ended")
    assert sweep(engine) == []


@pytest.mark.parametrize("by_s", [_HOUR_S, -_HOUR_S])
def test_a_living_process_of_this_host_keeps_its_job_when_the_clock_jumps(
    sqlite_engine: Engine, by_s: float
) -> None:
    job_id = create_job(sqlite_engine, spec())
    take(sqlite_engine, job_id, Owner.current())

    run_out(sqlite_engine, job_id, by_s=by_s)

    assert sweep(sqlite_engine) == []
    assert job(sqlite_engine, job_id).state == JobState.LEASED


def test_a_dead_process_loses_its_job_though_the_clock_went_back(
    engine: Engine, job_id: str
) -> None:
    take(engine, job_id, ghost())
    run_out(engine, job_id, by_s=-_HOUR_S)

    assert [loss.job_id for loss in sweep(engine)] == [job_id]


def test_on_postgres_the_server_s_clock_goes_for_all(postgres_engine: Engine) -> None:
    job_id = create_job(postgres_engine, spec())
    take(postgres_engine, job_id, Owner.current())

    run_out(postgres_engine, job_id)

    assert [loss.job_id for loss in sweep(postgres_engine)] == [job_id]


def test_a_lease_from_before_a_reboot_is_lost_on_sqlite(sqlite_engine: Engine) -> None:
    job_id = create_job(sqlite_engine, spec())
    take(sqlite_engine, job_id, replace(Owner.current(), boot="another/pid:[1]"))

    (loss,) = sweep(sqlite_engine)

    assert "was started again" in loss.reason


def test_a_host_of_the_same_name_is_another_host_on_postgres(postgres_engine: Engine) -> None:
    job_id = create_job(postgres_engine, spec())
    take(postgres_engine, job_id, replace(Owner.current(), boot="another/pid:[1]"))

    assert sweep(postgres_engine) == []
    assert free_dead_owners(postgres_engine) == []


def test_a_service_that_starts_frees_what_dead_processes_of_its_host_hold(
    engine: Engine,
) -> None:
    dead, alive, distant = (create_job(engine, spec()) for _ in range(3))
    take(engine, dead, ghost())
    take(engine, alive, Owner.current())
    take(engine, distant, far())
    run_out(engine, distant)

    assert [loss.job_id for loss in free_dead_owners(engine)] == [dead]


def test_a_parent_frees_what_its_child_held_and_says_how_it_ended(engine: Engine) -> None:
    ours, other = create_job(engine, spec()), create_job(engine, spec())
    child = Owner.current()
    take(engine, ours, child)
    take(engine, other, Owner.current())

    (loss,) = free_owner(engine, child.id, reason="exit 139: Segmentation fault")

    assert loss.job_id == ours
    assert job(engine, ours).error == "attempt 1: exit 139: Segmentation fault"


def test_a_job_that_loses_three_drivers_in_a_row_is_poisoned_with_its_log(
    engine: Engine, job_id: str
) -> None:
    for attempt in (1, 2, 3):
        lease = claim_next(engine, Owner.current())
        assert lease is not None
        (loss,) = free_owner(engine, lease.owner, reason=f"exit {attempt}")

    poisoned = job(engine, job_id)
    assert loss.state == poisoned.state == JobState.POISONED
    assert poisoned.error is not None
    assert poisoned.error.splitlines() == [
        "lost 3 drivers in a row and stored no result in between:",
        "attempt 1: exit 1",
        "attempt 2: exit 2",
        "attempt 3: exit 3",
    ]
    assert poisoned.finished_at is not None
    assert events(engine, job_id)[-1].data["error"] == poisoned.error
    assert claim_next(engine, Owner.current()) is None


@pytest.mark.parametrize("progress", ["measurement", "generation"])
def test_progress_forgets_lost_drivers(
    engine: Engine, job_id: str, open_store: OpenStore, progress: str
) -> None:
    for number in range(5):
        store = open_store(take(engine, job_id))
        if progress == "measurement":
            store.record(measured(number), split="search", choices=design(number).choices)
        else:
            run_generation(store, number, [number], [number])
        assert job(engine, job_id).error is None
        assert [loss.state for loss in sweep(engine)] == [JobState.READY]

    assert (job(engine, job_id).crashes, job(engine, job_id).attempt) == (1, 5)


def test_a_driver_that_gives_its_job_back_is_no_loss(engine: Engine, job_id: str) -> None:
    for _ in range(4):
        lease = claim_next(engine, Owner.current())
        assert lease is not None
        release(engine, lease, JobState.READY)

    assert (job(engine, job_id).crashes, job(engine, job_id).attempt) == (0, 4)


@pytest.mark.parametrize(
    ("ask", "state"),
    [(request_cancel, JobState.CANCELLED), (request_pause, JobState.PAUSED)],
)
def test_a_lost_job_does_what_it_was_asked_to(
    engine: Engine, job_id: str, ask: object, state: JobState
) -> None:
    take(engine, job_id, ghost())
    assert callable(ask)
    ask(engine, job_id)

    (loss,) = sweep(engine)

    assert loss.state == state
    assert resume_job(engine, job_id).crashes == 0


def test_a_lease_that_was_renewed_meanwhile_is_not_lost(engine: Engine, job_id: str) -> None:
    lease = take(engine, job_id, far())
    run_out(engine, job_id)
    store = SqlRunStore(engine, lease, shared_cache=True)

    store.propose(Role.SEARCH, 0, proposals([1]))

    assert sweep(engine) == []
    store.close()


def test_sweeping_finds_nothing_to_lock_where_nothing_is_lost(engine: Engine, job_id: str) -> None:
    take(engine, job_id, Owner.current())
    with reading(engine) as connection:
        before = connection.execute(JobRow.__table__.select()).all()

    assert sweep(engine) == free_owner(engine, "nobody", reason="gone") == []

    with reading(engine) as connection:
        assert connection.execute(JobRow.__table__.select()).all() == before


def test_of_two_sweeps_at_once_one_counts(engine: Engine, job_id: str) -> None:
    take(engine, job_id, ghost())
    with engine.begin() as connection:
        connection.execute(update(JobRow).values(crashes=1))

    found = [*sweep(engine), *sweep(engine), *free_dead_owners(engine)]

    assert len(found) == 1
    assert job(engine, job_id).crashes == 2
