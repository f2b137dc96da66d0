import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from dse.ports import Role
from storage.engine import reading
from storage.jobs import create_job
from storage.leases import Lease
from storage.repositories import Results
from storage.run_store import SqlRunStore
from tests.storage.builders import design, proposals, run_generation, spec, take
from tests.storage.conftest import OpenStore


@pytest.mark.parametrize("seed", range(3))
def test_the_front_of_every_generation_is_the_one_stored(
    engine: Engine, store: SqlRunStore, seed: int
) -> None:
    generator = random.Random(seed)
    told: list[set[str]] = []
    for generation in range(9):
        known = range(3 * (generation + 1))
        front = generator.sample(known, generator.randint(0, min(5, len(known))))
        run_generation(store, generation, list(known[-3:]), front)
        told.append({design(number).hash for number in front})

    with reading(engine) as connection:
        results = Results(connection)
        fronts = [results.front(store._lease.job_id, generation) for generation in range(9)]
        current = results.front(store._lease.job_id)
    assert [{e.design.hash for e in front} for front in fronts] == told
    assert [len(front) for front in fronts] == [len(hashes) for hashes in told]
    assert current == fronts[-1] == store.front()
    assert all(
        front == sorted(front, key=lambda e: (e.generation, e.position)) for front in fronts
    )


def test_a_front_before_the_first_generation_is_empty(engine: Engine, store: SqlRunStore) -> None:
    store.propose(Role.SEARCH, 0, proposals([1]))

    with reading(engine) as connection:
        assert Results(connection).front(store._lease.job_id) == []
        assert Results(connection).evaluations(store._lease.job_id) == []


def test_evaluations_come_in_order_of_generation_and_position(
    engine: Engine, store: SqlRunStore
) -> None:
    run_generation(store, 0, [5, 3], [5])
    run_generation(store, 1, [9, 1], [9])

    with reading(engine) as connection:
        found = Results(connection).evaluations(store._lease.job_id)
    assert [e.design for e in found] == [design(n) for n in (5, 3, 9, 1)]
    assert [(e.generation, e.position) for e in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [list(e.design.choices["w_bits"]) for e in found] == [["L0", "L1", "L2"]] * 4


def test_jobs_do_not_see_each_other(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    other = open_store(take(engine, create_job(engine, spec())))
    run_generation(store, 0, [5, 3], [5])
    run_generation(other, 0, [3, 4], [4])

    with reading(engine) as connection:
        results = Results(connection)
        mine, theirs = store._lease.job_id, other._lease.job_id
        assert [e.design for e in results.evaluations(theirs)] == [design(3), design(4)]
        assert [e.design for e in results.front(mine)] == [design(5)]
        assert [e.design for e in results.front(theirs)] == [design(4)]
        assert results.hypervolumes(mine) == [1.0]


def test_generations_tell_hypervolume_and_counts(engine: Engine, store: SqlRunStore) -> None:
    run_generation(store, 0, [5, 3], [5])
    run_generation(store, 1, [9], [9])

    with reading(engine) as connection:
        first, second = Results(connection).generations(store._lease.job_id)
        volumes = Results(connection).hypervolumes(store._lease.job_id)
    assert volumes == [1.0, 1.0 + 1 / 3]
    assert (first.number, first.designs, first.measured, first.cached) == (0, 2, 2, 0)
    assert second.finished_at >= first.finished_at


def test_events_are_told_from_any_number_on(engine: Engine, store: SqlRunStore) -> None:
    run_generation(store, 0, [5, 3], [5])
    store.note("search.exhausted", {"generation": 1})

    with reading(engine) as connection:
        events = Results(connection).events(store._lease.job_id)
        later = Results(connection).events(store._lease.job_id, after=3)
    assert [e.kind for e in events] == [
        "job.state",
        "job.state",
        "generation.finished",
        "search.exhausted",
    ]
    assert events[2].data["front"] == 1
    assert later == events[3:]


def test_event_numbers_have_no_gap_under_contention(engine: Engine, lease: Lease) -> None:
    def chatter(number: int) -> None:
        store = SqlRunStore(engine, lease, shared_cache=True)
        for _ in range(20):
            store.note(f"note {number}", {})
        store.close()

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(chatter, range(4)))

    with reading(engine) as connection:
        events = Results(connection).events(lease.job_id)
    assert [event.seq for event in events] == list(range(1, 83))
