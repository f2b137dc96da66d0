"""A search over knobs of words and the real store: no design is stored twice, words come back."""

import pytest
from sqlalchemy import Engine

from dse.errors import Interrupted
from dse.ports import Role, silent
from dse.search import Search
from storage.engine import reading
from storage.jobs import create_job
from storage.repositories import Results
from storage.run_store import SqlRunStore
from tests.fakes import FakePool, FakeVault, fake_key, fake_problem, fake_retraining_key
from tests.memory_store import MemoryStore
from tests.storage.builders import take
from tests.storage.conftest import OpenStore
from tests.storage.test_beacon_search import Stopping

PROBLEM = fake_problem(
    knobs=[
        {"knob": "w_bits", "choices": [4, 16]},
        {"knob": "act_quantizer", "choices": ["mmse", "absmax"], "tie": "all"},
        {"knob": "w_granularity", "choices": ["tensor", "channel"]},
        {"knob": "a_bits", "choices": [8, 16]},
    ],
    constraints=[],
    search={"population": 12, "offspring": 8, "generations": 5, "seed": 3},
    beacons={"enabled": True, "distance": 1, "window": [0.1, 60], "max_beacons": 2, "steps": 20},
)


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


@pytest.mark.parametrize("stopped_after", [20, 38, 50])
def test_the_store_holds_what_memory_holds_even_if_the_search_was_stopped(
    engine: Engine, open_store: OpenStore, stopped_after: int
) -> None:
    memory, job_id = MemoryStore(), create_job(engine, PROBLEM.spec)
    search(memory, FakePool())

    store = open_store(take(engine, job_id), shared_cache=False)
    with pytest.raises(Interrupted):
        search(store, FakePool(Stopping(stopped_after)))
    search(open_store(take(engine, job_id), shared_cache=False), FakePool())

    with reading(engine) as connection:
        found = Results(connection).evaluations(job_id)
    wanted = [e for (role, _), es in memory.concluded.items() if role is Role.SEARCH for e in es]
    assert [e.design for e in found] == [e.design for e in wanted]
    assert [(e.origin, e.beacon) for e in found] == [(e.origin, e.beacon) for e in wanted]
    assert {"absmax", "channel"} <= {
        value for e in found for values in e.design.choices.values() for value in values.values()
    }
    assert memory.made
