from sqlalchemy import Engine, text

from dse.ports import Role
from dse.tasks import Outcome, Status
from storage.engine import reading
from storage.leases import claim_next, release
from storage.losses import free_dead_owners
from storage.owners import Owner
from storage.run_store import SqlRunStore
from storage.tables import JobState
from tests.storage.builders import (
    design,
    evaluations,
    events,
    job,
    measured,
    proposals,
    record,
    take,
)
from tests.storage.conftest import OpenStore


def test_what_was_in_flight_when_a_driver_died_is_suspect(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    store.dispatched(["key-1", "key-2", "key-3"])
    store.record(measured(1), split="search", choices=design(1).choices)
    lost = Outcome(key="key-2", status=Status.FAILED, reason="no")
    store.record(lost, split="search", choices=None)
    assert store.suspects() == set()

    second = open_store(take(engine, store._lease.job_id))

    assert second.suspects() == {"key-3"}
    second.dispatched(["key-3"], alone=True)
    assert second.suspects() == set()


def test_a_driver_that_gives_up_by_itself_leaves_no_suspects(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    store.dispatched(["key-1"], alone=True)
    release(engine, store._lease, JobState.READY)

    assert open_store(take(engine, store._lease.job_id)).suspects() == set()


def test_deaths_count_only_while_alone_and_the_third_is_a_verdict(
    engine: Engine, store: SqlRunStore
) -> None:
    store.dispatched(["key-1", "key-2"])
    assert [store.died("key-1", alone=False) for _ in range(4)] == [0] * 4

    counts = []
    for _ in range(3):
        store.dispatched(["key-1"], alone=True)
        counts.append(store.died("key-1", alone=True))

    assert counts == [1, 2, 3]
    reason = "its process died 3 times while it ran alone"
    assert store.verdicts(["key-1", "key-2"]) == {"key-1": f"POISONED: {reason}"}
    last = events(engine, store._lease.job_id)[-1]
    assert (last.kind, last.data) == ("evaluation.poisoned", {"key": "key-1", "reason": reason})


def test_drivers_that_die_with_a_design_alone_count_against_it_and_not_the_job(
    engine: Engine, job_id: str, open_store: OpenStore
) -> None:
    first = open_store(take(engine, job_id))
    first.dispatched(["key-1", "key-2"])
    free_dead_owners(engine)
    second = open_store(take(engine, job_id))
    second.dispatched(["key-2"], alone=True)
    second.record(measured(2), split="search", choices=None)
    for _ in range(3):
        driver = open_store(take(engine, job_id))
        assert driver.suspects() == {"key-1"}
        driver.dispatched(["key-1"], alone=True)
    free_dead_owners(engine)

    assert (job(engine, job_id).state, job(engine, job_id).crashes) == (JobState.READY, 0)
    last = open_store(take(engine, job_id))
    assert last.suspects() == set()
    assert "POISONED" in last.verdicts(["key-1"])["key-1"]


def test_a_job_whose_every_driver_dies_is_poisoned(
    engine: Engine, job_id: str, open_store: OpenStore
) -> None:
    for number in range(3):
        open_store(take(engine, job_id)).dispatched([f"key-{number}", "key-9"])
        free_dead_owners(engine)

    assert job(engine, job_id).state == JobState.POISONED


def test_a_design_that_takes_every_driver_down_is_given_up_before_its_job(
    engine: Engine, job_id: str, open_store: OpenStore
) -> None:
    for alone in (False, True, True, True):
        open_store(take(engine, job_id)).dispatched(["key-1"], alone=alone)
        free_dead_owners(engine)

    assert job(engine, job_id).state == JobState.READY
    assert "POISONED" in open_store(take(engine, job_id)).verdicts(["key-1"])["key-1"]


def test_random_deaths_condemn_no_design_that_runs_with_others(
    engine: Engine, job_id: str, open_store: OpenStore
) -> None:
    for number in range(6):
        store = open_store(take(engine, job_id))
        store.dispatched(["key-50", "key-51"])
        store.record(measured(number), split="search", choices=None)
        free_dead_owners(engine)

    store = open_store(take(engine, job_id))
    assert store.suspects() == {"key-50", "key-51"}
    assert store.verdicts(["key-50", "key-51"]) == {}


def test_a_measurement_ends_the_suspicion(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    store.dispatched(["key-1"], alone=True)
    second = open_store(take(engine, store._lease.job_id))
    second.dispatched(["key-1"], alone=True)
    second.record(measured(1), split="search", choices=None)

    third = open_store(take(engine, store._lease.job_id))

    assert third.suspects() == set()
    assert third.verdicts(["key-1"]) == {}


def test_flights_are_forgotten_when_a_generation_ends(engine: Engine, store: SqlRunStore) -> None:
    store.propose(Role.SEARCH, 0, proposals([1]))
    store.dispatched(["key-1"])
    store.record(measured(1), split="search", choices=None)

    store.finish_generation(record(0, [1]), evaluations([1], 0))

    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM dispatch")) == 0


def test_nothing_in_flight_is_nothing_stored(engine: Engine, store: SqlRunStore) -> None:
    store.dispatched([])
    store.dispatched(["key-1", "key-1"])

    assert store.suspects() == set()
    assert store.died("key-9", alone=False) == 0
    assert claim_next(engine, Owner.current()) is None
