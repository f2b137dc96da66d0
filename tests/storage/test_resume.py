"""Whatever ends a driver, the next one ends with the rows of a run that nothing ended."""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, delete, event, select

from dse.design import Beacon
from dse.ports import Role
from storage.beacons import list_beacons
from storage.engine import make_engine, reading
from storage.jobs import create_job
from storage.leases import claim
from storage.owners import Owner
from storage.repositories import Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import EvaluationRow, JobRow, RetrainingRow
from tests.storage.builders import (
    FOUNDATION,
    beacon,
    design,
    evaluations,
    measured,
    proposals,
    record,
    retrained,
    retraining,
    served,
    spec,
    take,
)

_GENERATIONS = (((5, 3), (5, 3)), ((9, 1), (9, 3)))


_IN_GENERATION_1 = 54


class Killed(BaseException):
    """Ends a driver where kill -9 would."""


def drive(store: SqlRunStore) -> None:
    """Do what a search does, from wherever the store stands."""
    store.lay_foundation(FOUNDATION)
    _evaluate(store, Role.BASELINE, 0, (7,))
    store.conclude(Role.BASELINE, evaluations([7], 0))
    last = store.last_generation()
    for generation in range(0 if last is None else last.number + 1, len(_GENERATIONS)):
        numbers, front = _GENERATIONS[generation]
        _evaluate(store, Role.SEARCH, generation, numbers)
        ended = record(generation, front, designs=len(numbers))
        found = evaluations(numbers, generation)
        if generation == 0:
            store.finish_generation(ended, found)
            continue
        beacons = _retrain(store, numbers[0], generation)
        revised = [served(5, 0, 0, by=1)]
        store.finish_generation(ended, found, revised=revised, beacons=beacons)
    store.add_test_metrics(Role.SEARCH, {design(9).hash: {"test_error": 1.0}})
    store.add_float_metrics({"test_error": 2.0})


def _evaluate(store: SqlRunStore, role: Role, generation: int, numbers: tuple[int, ...]) -> None:
    store.propose(role, generation, proposals(numbers))
    known = store.recall(f"key-{number}" for number in numbers)
    for number in numbers:
        if f"key-{number}" not in known:
            store.record(measured(number), split="search", choices=design(number).choices)


def _retrain(store: SqlRunStore, number: int, generation: int) -> list[Beacon]:
    task = retraining(number)
    if task.key not in store.recall_retrainings([task.key]):
        store.dispatched([task.key])
        store.record_retraining(retrained(number), task)
    return [beacon(1, number, generation)]


@pytest.mark.slow
def test_a_driver_killed_before_any_statement_leaves_nothing_to_repair(engine: Engine) -> None:
    counter = _Counter(None)
    with counter.listening(engine):
        whole = _run(engine)

    assert counter.count > 60
    for step in range(counter.count):
        assert _run_twice(engine, kill_at=step) == whole, step


@pytest.mark.slow
def test_a_driver_ended_by_kill_9_is_succeeded_at_once(engine: Engine, url: str) -> None:
    job_id = create_job(engine, spec())
    child = multiprocessing.get_context("spawn").Process(target=_drive_and_die, args=(url, job_id))
    child.start()
    child.join()

    lease = claim(engine, job_id, Owner.current())
    assert child.exitcode == -signal.SIGKILL
    assert lease is not None
    assert (lease.attempt, lease.generation) == (2, 0)
    store = SqlRunStore(engine, lease, shared_cache=True)
    drive(store)

    last = store.last_generation()
    assert last is not None
    assert last == record(1, (3, 9), designs=2)


def _drive_and_die(url: str, job_id: str) -> None:
    engine = make_engine(url)
    lease = claim(engine, job_id, Owner.current())
    assert lease is not None
    with _Counter(_IN_GENERATION_1, signal.SIGKILL).listening(engine):
        drive(SqlRunStore(engine, lease, shared_cache=True))


def _run(engine: Engine) -> object:
    """Run a job, in a database without others."""
    with engine.begin() as connection:
        connection.execute(delete(JobRow))
        connection.execute(delete(EvaluationRow))
        connection.execute(delete(RetrainingRow))
    job_id = create_job(engine, spec())
    _drive(engine, job_id)
    return _results(engine, job_id)


def _run_twice(engine: Engine, *, kill_at: int) -> object:
    with _Counter(kill_at).listening(engine), pytest.raises(Killed):
        _run(engine)
    with reading(engine) as connection:
        jobs = Jobs(connection).all()
    if not jobs:
        return _run(engine)
    _drive(engine, jobs[0].id)
    return _results(engine, jobs[0].id)


def _drive(engine: Engine, job_id: str) -> None:
    store = SqlRunStore(engine, take(engine, job_id), shared_cache=True)
    try:
        drive(store)
    finally:
        store.close()


class _Counter:
    """Counts statements and commits, and kills before the one that is number `at`."""

    def __init__(self, at: int | None, by: signal.Signals | None = None) -> None:
        self.at = at
        self.by = by
        self.count = 0

    @contextmanager
    def listening(self, engine: Engine) -> Iterator[None]:
        for name in ("before_cursor_execute", "commit"):
            event.listen(engine, name, self._step)
        yield
        for name in ("before_cursor_execute", "commit"):
            event.remove(engine, name, self._step)

    def _step(self, *_: object) -> None:
        if self.count == self.at:
            if self.by is not None:
                os.kill(os.getpid(), self.by)
            raise Killed
        self.count += 1


def _results(engine: Engine, job_id: str) -> object:
    with reading(engine) as connection:
        results = Results(connection)
        events = results.events(job_id)
        keys = connection.scalars(select(EvaluationRow.key).order_by(EvaluationRow.key)).all()
        job = Jobs(connection).get(job_id)
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        return (
            [results.evaluations(job_id, role) for role in Role],
            [results.front(job_id, number) for number in range(len(_GENERATIONS))],
            results.hypervolumes(job_id),
            [(e.kind, e.data) for e in events if e.kind != "job.state"],
            keys,
            list_beacons(connection, job_id),
            (job.float_metrics, job.reference_point, job.generation),
        )
