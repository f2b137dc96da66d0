from collections.abc import Callable
from itertools import product

import pytest
from sqlalchemy import Engine, update

from dse.errors import ConflictError, SpecError, UnknownNameError
from dse.ports import Role
from dse.spec import spec_from_data
from storage.control import delete_job, extend_job, request_cancel, request_pause, resume_job
from storage.engine import reading
from storage.jobs import clone_job, create_job
from storage.leases import claim
from storage.owners import Owner
from storage.repositories import Job, Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import Base, JobRow, JobState
from tests.storage.builders import (
    design,
    events,
    job,
    measured,
    run_generation,
    spec,
    take,
)

Action = Callable[[Engine, str], Job | None]

ACTIONS: dict[str, Action] = {
    "cancel": request_cancel,
    "pause": request_pause,
    "resume": resume_job,
    "extend": lambda engine, job_id: extend_job(engine, job_id, generations=100),
    "delete": delete_job,
}
S = JobState
LEGAL: dict[str, dict[JobState, JobState | None]] = {
    "cancel": {
        S.READY: S.CANCELLED,
        S.PAUSED: S.CANCELLED,
        S.LEASED: S.LEASED,
        S.CANCELLED: S.CANCELLED,
    },
    "pause": {S.READY: S.PAUSED, S.LEASED: S.LEASED, S.PAUSED: S.PAUSED},
    "resume": {
        S.PAUSED: S.READY,
        S.CANCELLED: S.READY,
        S.FAILED: S.READY,
        S.POISONED: S.READY,
        S.SUCCEEDED: S.READY,
        S.READY: S.READY,
        S.LEASED: S.LEASED,
    },
    "extend": {S.SUCCEEDED: S.READY, S.CANCELLED: S.READY, S.PAUSED: S.READY},
    "delete": {state: None for state in S if state is not S.LEASED},
}


def _in_state(engine: Engine, state: JobState) -> str:
    job_id = create_job(engine, spec())
    if state is S.LEASED:
        take(engine, job_id, Owner.current())
        return job_id
    with engine.begin() as connection:
        connection.execute(update(JobRow).values(state=state, crashes=2, error="x"))
    return job_id


@pytest.mark.parametrize(("name", "state"), list(product(ACTIONS, JobState)))
def test_each_action_is_legal_in_its_states_and_can_be_repeated(
    engine: Engine, name: str, state: JobState
) -> None:
    job_id, act = _in_state(engine, state), ACTIONS[name]
    before = _rows(engine)
    if state not in LEGAL[name]:
        with pytest.raises(ConflictError, match=f"job {job_id} is {state} and cannot") as refused:
            act(engine, job_id)
        assert refused.value.allowed
        assert state not in refused.value.allowed
        assert _rows(engine) == before
        return

    found = act(engine, job_id)

    if name == "delete":
        assert _rows(engine)["job"] == []
        return
    assert found == job(engine, job_id)
    assert found is not None
    assert found.state == LEGAL[name][state]
    assert [e.seq for e in events(engine, job_id)] == list(range(1, found.event_seq + 1))
    after = _rows(engine)
    assert act(engine, job_id) == found
    assert _rows(engine) == after


def test_a_leased_job_is_asked_and_an_event_tells(engine: Engine, job_id: str) -> None:
    take(engine, job_id, Owner.current())

    paused, going_on = request_pause(engine, job_id), resume_job(engine, job_id)
    cancelled = request_cancel(engine, job_id)

    assert (paused.pause_requested, going_on.pause_requested) == (True, False)
    assert cancelled.cancel_requested
    assert [paused.version, going_on.version, cancelled.version] == [3, 4, 5]
    asked = [e.data["request"] for e in events(engine, job_id) if e.kind == "job.request"]
    assert asked == ["pause", "resume", "cancel"]
    for late in (request_pause, resume_job):
        with pytest.raises(ConflictError, match="is being cancelled and cannot"):
            late(engine, job_id)


def test_a_resumed_job_is_as_good_as_new(engine: Engine) -> None:
    job_id = _in_state(engine, S.POISONED)

    resumed = resume_job(engine, job_id)

    assert (resumed.crashes, resumed.error, resumed.finished_at) == (0, None, None)
    assert claim(engine, job_id, Owner.current()) is not None


def test_a_cancelled_job_tells_when_and_keeps_what_it_found(
    engine: Engine, job_id: str, store: SqlRunStore
) -> None:
    run_generation(store, 0, [1, 2], [1])
    store.close()
    with engine.begin() as connection:
        connection.execute(update(JobRow).values(state=S.PAUSED, owner=None))

    assert request_cancel(engine, job_id).finished_at is not None

    with reading(engine) as connection:
        assert len(Results(connection).front(job_id)) == 1


def test_an_extended_job_has_a_longer_spec_of_another_hash(engine: Engine) -> None:
    job_id = _in_state(engine, S.SUCCEEDED)

    longer = extend_job(engine, job_id, generations=100)

    stored = spec_from_data(longer.spec)
    assert (stored.search.generations, stored.search.seed) == (100, 1)
    assert longer.spec_hash == stored.digest() != spec().digest()
    assert events(engine, job_id)[-1].data == {"state": "READY", "attempt": 0, "generations": 100}


def test_a_job_is_extended_upward_only(engine: Engine) -> None:
    job_id = _in_state(engine, S.PAUSED)

    for generations in (60, 59, 0, -1):
        with pytest.raises(SpecError, match=f"above 60, got {generations}"):
            extend_job(engine, job_id, generations=generations)
    with pytest.raises(SpecError, match="search.generations: .* 100000"):
        extend_job(engine, job_id, generations=100_001)
    assert job(engine, job_id).state == S.PAUSED


def test_a_clone_is_another_job_with_the_same_spec(engine: Engine) -> None:
    job_id = _in_state(engine, S.FAILED)

    clone = clone_job(engine, job_id)

    original = job(engine, job_id)
    assert clone.id != job_id
    assert (clone.spec, clone.spec_hash) == (original.spec, original.spec_hash)
    assert (clone.state, clone.error) == (S.READY, None)
    assert events(engine, clone.id)[0].data["cloned_from"] == job_id


@pytest.mark.parametrize("action", [*ACTIONS.values(), clone_job], ids=[*ACTIONS, "clone"])
def test_an_unknown_job_is_refused(engine: Engine, action: Action) -> None:
    with pytest.raises(UnknownNameError, match="unknown job 'x'"):
        action(engine, "x")


def test_a_deleted_job_leaves_its_measurements_and_nothing_else(
    engine: Engine, job_id: str, store: SqlRunStore
) -> None:
    run_generation(store, 0, [1, 2], [1])
    store.dispatched(["key-9"])
    store.add_test_metrics(Role.SEARCH, {design(1).hash: {"test_error": 1.0}})
    store.close()
    with engine.begin() as connection:
        connection.execute(update(JobRow).values(state=S.FAILED))

    delete_job(engine, job_id)

    left = {name: len(rows) for name, rows in _rows(engine).items() if rows}
    assert left == {"evaluation": 2}
    other = SqlRunStore(engine, take(engine, create_job(engine, spec())), shared_cache=True)
    assert other.recall(["key-1"]) == {"key-1": measured(1).metrics}
    other.close()


def _rows(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with reading(engine) as connection:
        assert Jobs(connection).all() is not None
        return {
            table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=str)
            for table in Base.metadata.sorted_tables
        }
