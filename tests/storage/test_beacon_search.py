"""A search with beacons over the real store: stopped anywhere, it ends with the same rows."""

import pytest
from sqlalchemy import Engine

from dse.errors import Interrupted
from dse.ports import Role, silent
from dse.search import Search
from dse.tasks import Outcome, Retraining, Task
from storage.beacons import list_beacons
from storage.engine import reading
from storage.jobs import create_job
from storage.repositories import Results
from storage.run_store import SqlRunStore
from tests.fakes import (
    FakePool,
    FakeVault,
    fake_key,
    fake_problem,
    fake_retraining_key,
    good_outcome,
)
from tests.memory_store import MemoryStore
from tests.storage.builders import take
from tests.storage.conftest import OpenStore

PROBLEM = fake_problem(
    search={"population": 10, "offspring": 5, "generations": 5, "seed": 3},
    beacons={"enabled": True, "distance": 2, "window": [1, 60], "max_beacons": 3, "steps": 20},
)


class Stopping:
    """Answers well until it has done so `times`."""

    def __init__(self, times: int) -> None:
        self.left = times

    def __call__(self, task: Task) -> Outcome:
        if self.left == 0:
            raise Interrupted("stopped")
        self.left -= 1
        return good_outcome(task)


def search(store: SqlRunStore | MemoryStore, pool: FakePool) -> None:
    Search(
        PROBLEM,
        pool=pool,
        store=store,
        vault=FakeVault(),
        key=fake_key,
        retraining_key=fake_retraining_key,
        progress=silent,
    ).run()


def rows(engine: Engine, job_id: str) -> object:
    with reading(engine) as connection:
        results = Results(connection)
        told = results.events(job_id)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        return (
            [results.evaluations(job_id, role) for role in Role],
            [results.front(job_id, number) for number in range(5)],
            results.hypervolumes(job_id),
            list_beacons(connection, job_id),
            [(e.kind, e.data) for e in told if e.kind.startswith("beacon.")],
        )


def test_the_store_holds_what_memory_holds(engine: Engine, open_store: OpenStore) -> None:
    memory, job_id = MemoryStore(), create_job(engine, PROBLEM.spec)
    search(memory, FakePool())

    search(open_store(take(engine, job_id)), FakePool())

    with reading(engine) as connection:
        found = Results(connection).evaluations(job_id)
        beacons = list_beacons(connection, job_id)
    wanted = [e for (role, _), es in memory.concluded.items() if role is Role.SEARCH for e in es]
    plain = [{n: v for n, v in e.metrics.items() if "test_" not in n} for e in found]
    assert plain == [dict(e.metrics) for e in wanted]
    assert [(e.origin, e.base_error, e.beacon) for e in found] == [
        (e.origin, e.base_error, e.beacon) for e in wanted
    ]
    assert [b.digest for b in beacons] == [b.digest for b in memory.made]
    assert len(beacons) >= 2
    assert sum(b.served for b in beacons) == sum(e.origin != "base" for e in wanted if e.measured)


@pytest.mark.slow
def test_a_search_that_is_stopped_anywhere_ends_with_the_same_rows(
    engine: Engine, open_store: OpenStore
) -> None:
    whole, pool = create_job(engine, PROBLEM.spec), FakePool()
    search(open_store(take(engine, whole), shared_cache=False), pool)
    retrainings = [i for i, task in enumerate(pool.ran) if isinstance(task, Retraining)]

    steps = {step for i in retrainings for step in range(i - 1, i + 4)} | {3, len(pool.ran) - 1}
    for step in sorted(steps):
        job_id = create_job(engine, PROBLEM.spec)
        store = open_store(take(engine, job_id), shared_cache=False)
        with pytest.raises(Interrupted):
            search(store, FakePool(Stopping(step)))
        search(open_store(take(engine, job_id), shared_cache=False), FakePool())

        assert rows(engine, job_id) == rows(engine, whole), step
