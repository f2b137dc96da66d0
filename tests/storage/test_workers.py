from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from storage.engine import reading
from storage.owners import Owner
from storage.tables import WorkerRow
from storage.workers import Worker, beat_worker, forget_worker, list_workers, register_worker
from tests.storage.builders import far, ghost

_VERSIONS = {"beacon-dse": "0.1.0", "torch": "2.13.0"}


def test_a_worker_tells_of_itself_and_is_forgotten(engine: Engine) -> None:
    owner = Owner.current()
    register_worker(engine, owner, slots=4, versions=_VERSIONS)

    (worker,) = _workers(engine)
    forget_worker(engine, owner.id)
    forget_worker(engine, owner.id)

    assert (worker.id, worker.host, worker.pid) == (owner.id, owner.host, owner.pid)
    assert (worker.slots, worker.versions) == (4, _VERSIONS)
    assert abs(datetime.now(UTC) - worker.last_seen) < timedelta(minutes=1)
    assert worker.last_seen.tzinfo is UTC
    assert _workers(engine) == []


def test_a_beat_tells_that_a_worker_is_there(engine: Engine) -> None:
    owner = Owner.current()
    register_worker(engine, owner, slots=1, versions={})
    _silent_for(engine, minutes=30)
    (before,) = _workers(engine)

    assert beat_worker(engine, owner.id)

    (after,) = _workers(engine)
    assert after.last_seen - before.last_seen > timedelta(minutes=29)
    assert after.registered_at == before.registered_at
    assert not beat_worker(engine, "nobody")


def test_workers_that_were_silent_for_an_hour_are_dropped(engine: Engine) -> None:
    first, second, third = (Owner.current() for _ in range(3))
    register_worker(engine, first, slots=1, versions={})
    _silent_for(engine, minutes=61)
    register_worker(engine, second, slots=1, versions={})
    _silent_for(engine, minutes=59)
    register_worker(engine, third, slots=1, versions={})

    assert [worker.id for worker in _workers(engine)] == [second.id, third.id]


def test_a_worker_that_is_seen_to_have_ended_is_dropped_by_the_next(engine: Engine) -> None:
    for owner in (ghost(), far(), Owner.current()):
        register_worker(engine, owner, slots=1, versions={})

    newcomer = Owner.current()
    register_worker(engine, newcomer, slots=1, versions={})

    assert len(_workers(engine)) == 3
    assert newcomer.id in [worker.id for worker in _workers(engine)]


def _workers(engine: Engine) -> list[Worker]:
    with reading(engine) as connection:
        return list_workers(connection)


def _silent_for(engine: Engine, *, minutes: float) -> None:
    with engine.begin() as connection:
        at = datetime.now(UTC) - timedelta(minutes=minutes)
        connection.execute(update(WorkerRow).values(last_seen=at))
