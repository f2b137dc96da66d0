import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine, text, update

from dse.design import Evaluation
from dse.errors import DriftError, FencedOutError, StoreError
from dse.ports import Foundation, Role, RunStore
from dse.tasks import Outcome, Status
from storage.engine import reading
from storage.jobs import create_job
from storage.repositories import Event, Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import Base, JobRow
from tests.storage.builders import (
    FOUNDATION,
    design,
    evaluation,
    evaluations,
    measured,
    proposal,
    proposals,
    record,
    retrained,
    retraining,
    run_generation,
    spec,
    take,
)
from tests.storage.conftest import OpenStore


def test_it_is_a_run_store(store: SqlRunStore) -> None:
    port: RunStore = store

    assert port.last_generation() is None
    assert port.foundation() is None
    assert port.genomes().shape == (0, 0)
    assert port.front() == []


def test_the_foundation_is_laid_once(store: SqlRunStore) -> None:
    store.lay_foundation(FOUNDATION)
    store.lay_foundation(FOUNDATION)

    with pytest.raises(DriftError, match="the job began on .*40.0.*, this run would on .*50.0"):
        store.lay_foundation(replace(FOUNDATION, reference_point={"error": 50.0}))
    assert store.foundation() == FOUNDATION


def test_figures_of_the_float_network_are_added_to_the_foundation(store: SqlRunStore) -> None:
    store.lay_foundation(FOUNDATION)
    store.add_float_metrics({"test_error": 11.0})
    store.add_float_metrics({"test_error": 11.0})

    store.lay_foundation(FOUNDATION)
    assert store.foundation() == Foundation(
        float_metrics={"error": 10.0, "test_error": 11.0}, reference_point={"error": 40.0}
    )


def test_figures_of_the_float_network_need_a_foundation(store: SqlRunStore) -> None:
    with pytest.raises(StoreError, match="need a foundation"):
        store.add_float_metrics({"test_error": 11.0})


def test_a_generation_is_read_back_bit_for_bit(store: SqlRunStore) -> None:
    state = {"rng": str(2**127 + 1), "crowding": ["inf", (0.1).hex()], "n": 2**63, "x": 0.1 + 0.2}
    store.propose(Role.SEARCH, 0, proposals([5, 3]))
    ended = replace(record(0, [5, 3], designs=2), state=state, hypervolume=1 / 3)

    store.finish_generation(ended, evaluations([5, 3], 0))

    assert store.last_generation() == ended


def test_a_state_of_a_newer_format_is_refused(engine: Engine, store: SqlRunStore) -> None:
    run_generation(store, 0, [1], [1])
    with engine.begin() as connection:
        connection.execute(text("UPDATE generation SET format_version=2"))

    for read in (store.last_generation, store.states):
        with pytest.raises(StoreError, match="generation 0 has state format 2.* formats up to 1"):
            read()


def test_states_are_those_of_finished_generations_in_order(store: SqlRunStore) -> None:
    assert store.states() == []

    run_generation(store, 0, [5, 3], [5])
    run_generation(store, 1, [7], [5])
    store.propose(Role.SEARCH, 2, proposals([2]))

    assert store.states() == [record(0, []).state, record(1, []).state]


def test_genomes_are_those_of_finished_generations_in_order(store: SqlRunStore) -> None:
    run_generation(store, 0, [5, 3], [5])
    run_generation(store, 1, [7, 1], [5])
    store.propose(Role.SEARCH, 2, proposals([2]))
    store.propose(Role.BASELINE, 0, proposals([8]))

    genomes = store.genomes()

    assert genomes.dtype == np.int64
    assert genomes.tolist() == [[2, 1, 0], [0, 1, 0], [1, 2, 0], [1, 0, 0]]


def test_proposing_the_same_again_changes_nothing(engine: Engine, store: SqlRunStore) -> None:
    store.propose(Role.SEARCH, 0, proposals([5, 3]))
    before = _contents(engine)

    store.propose(Role.SEARCH, 0, proposals([5, 3]))

    assert _contents(engine) == before


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([5, 4], f"position 1: design {design(3).hash} is stored, this run proposes"),
        ([3, 5], f"position 0: design {design(5).hash} is stored"),
        ([5], "2 designs are stored, this run proposes 1"),
        ([5, 3, 4], "2 designs are stored, this run proposes 3"),
        ([], "2 designs are stored, this run proposes 0"),
    ],
)
def test_proposing_otherwise_is_drift(
    engine: Engine, store: SqlRunStore, numbers: list[int], told: str
) -> None:
    store.propose(Role.SEARCH, 0, proposals([5, 3]))
    before = _contents(engine)

    with pytest.raises(DriftError, match=f"search generation 0.*{told}"):
        store.propose(Role.SEARCH, 0, proposals(numbers))
    assert _contents(engine) == before


@pytest.mark.parametrize("role", [Role.SEARCH, Role.BASELINE])
def test_proposing_the_same_designs_of_another_network_is_drift(
    engine: Engine, store: SqlRunStore, role: Role
) -> None:
    store.propose(role, 0, proposals([5, 3]))
    before = _contents(engine)

    with pytest.raises(DriftError, match=f"{role} generation 0 was measured on another network"):
        store.propose(role, 0, [proposal(5), replace(proposal(3), key="another-key")])
    assert _contents(engine) == before


def test_a_design_is_proposed_once_in_its_role(engine: Engine, store: SqlRunStore) -> None:
    run_generation(store, 0, [5, 3], [5])
    store.propose(Role.BASELINE, 0, proposals([5]))
    before = _contents(engine)

    with pytest.raises(StoreError, match=f"{design(3).hash} was proposed before as search"):
        store.propose(Role.SEARCH, 1, proposals([4, 3]))
    with pytest.raises(StoreError, match=f"{design(4).hash} was proposed before as search"):
        store.propose(Role.SEARCH, 1, proposals([4, 4]))
    assert _contents(engine) == before


def test_nothing_proposed_is_nothing_stored(engine: Engine, store: SqlRunStore) -> None:
    before = _contents(engine)

    store.propose(Role.SEARCH, 0, [])

    assert _contents(engine) == before


def test_a_measurement_serves_all_jobs_unless_told_otherwise(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    other = take(engine, create_job(engine, spec()))
    store.record(measured(1), split="search", choices=design(1).choices)
    shared = open_store(other)
    alone = open_store(other, shared_cache=False)

    assert store.recall(["key-1", "key-2"]) == {"key-1": {"error": 25.0}}
    assert shared.recall(["key-1"]) == {"key-1": {"error": 25.0}}
    assert alone.recall(["key-1"]) == {}
    alone.record(measured(1), split="search", choices=design(1).choices)
    assert alone.recall(["key-1"]) == {"key-1": {"error": 25.0}}
    assert open_store(other, shared_cache=False).recall(["key-1"]) != {}


def test_any_number_of_keys_can_be_recalled(store: SqlRunStore) -> None:
    store.record(measured(1400), split="search", choices=None)

    assert store.recall(f"key-{n}" for n in range(1401)) == {
        "key-1400": measured(1400).metrics,
    }
    assert store.recall([]) == {}


def test_measurements_say_of_what_they_are(engine: Engine, store: SqlRunStore) -> None:
    store.propose(Role.SEARCH, 0, proposals([1]))
    store.record(measured(1), split="search", choices=design(1).choices)
    store.record(measured(2), split="test", choices=design(2).choices)
    store.record(measured(3), split="search", choices=None)

    columns = "key, workload, split, design_hash, seconds"
    with reading(engine) as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM evaluation ORDER BY key")).all()
    assert [tuple(row) for row in rows] == [
        ("key-1", "toy", "search", design(1).hash, 0.5),
        ("key-2", "toy", "test", design(2).hash, 0.5),
        ("key-3", "toy", "search", None, 0.5),
    ]


def test_another_result_under_a_key_raises_the_alarm_and_the_first_stands(
    engine: Engine, store: SqlRunStore
) -> None:
    store.record(measured(1), split="search", choices=None)
    store.record(measured(1), split="search", choices=None)
    assert "evaluation.mismatch" not in [event.kind for event in _events(engine, store)]

    store.record(measured(1, error=math.nextafter(25.0, 26.0)), split="search", choices=None)

    last = _events(engine, store)[-1]
    assert (last.kind, last.data) == (
        "evaluation.mismatch",
        {
            "key": "key-1",
            "stored": {"error": 25.0},
            "measured": {"error": math.nextafter(25.0, 26.0)},
        },
    )
    assert store.recall(["key-1"]) == {"key-1": {"error": 25.0}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_that_are_not_finite_are_refused(
    engine: Engine, store: SqlRunStore, value: float
) -> None:
    before = _contents(engine)
    costly = replace(proposals([1])[0], costs={"memory_mib": value})

    with pytest.raises(StoreError, match=f"key-1: error must be a finite number, got {value}"):
        store.record(measured(1, error=value), split="search", choices=None)
    with pytest.raises(StoreError, match=f"memory_mib must be a finite number, got {value}"):
        store.propose(Role.SEARCH, 0, [costly])
    assert _contents(engine) == before


def test_concluded_designs_are_read_back_exactly(engine: Engine, store: SqlRunStore) -> None:
    screened = Evaluation(
        design=design(3),
        metrics={"memory_mib": 0.1 * 3},
        feasible=False,
        violation=1 / 3,
        reason="its costs break a constraint",
        position=1,
        key="key-3",
        label="uniform w4a4",
    )
    labelled = [replace(p, label="uniform w4a4") for p in proposals([5, 3])]
    store.propose(Role.BASELINE, 0, labelled)
    found = [replace(evaluation(5, 0, 0), label="uniform w4a4"), screened]

    store.conclude(Role.BASELINE, found)
    store.conclude(Role.BASELINE, found)

    with reading(engine) as connection:
        assert Results(connection).evaluations(store._lease.job_id, Role.BASELINE) == found
        assert Results(connection).evaluations(store._lease.job_id) == []


def test_designs_that_were_not_proposed_cannot_be_concluded(
    engine: Engine, store: SqlRunStore
) -> None:
    store.propose(Role.BASELINE, 0, proposals([1]))
    before = _contents(engine)

    with pytest.raises(StoreError, match=f"{design(1).hash} was not proposed as search"):
        store.conclude(Role.SEARCH, [evaluation(1, 0, 0)])
    with pytest.raises(StoreError, match="was not proposed as search"):
        store.finish_generation(record(0, [1]), [])
    assert _contents(engine) == before


def test_generations_grow_by_one(store: SqlRunStore) -> None:
    run_generation(store, 0, [1], [1])

    for number in (0, 2):
        with pytest.raises(FencedOutError):
            store.finish_generation(record(number, [1]), [])
    run_generation(store, 1, [2], [1, 2])


def test_test_metrics_join_the_others(engine: Engine, store: SqlRunStore) -> None:
    run_generation(store, 0, [1, 2], [1])

    for _ in range(2):
        store.add_test_metrics(Role.SEARCH, {design(1).hash: {"test_error": 26.0}})
    store.add_test_metrics(Role.BASELINE, {})

    first, second = _evaluations(engine, store)
    assert first.metrics == {"error": 25.0, "memory_mib": 0.1, "test_error": 26.0}
    assert "test_error" not in second.metrics


def test_requests_to_stop_are_seen(engine: Engine, store: SqlRunStore) -> None:
    assert not store.stop_requested()

    for flag in ("cancel_requested", "pause_requested"):
        with engine.begin() as connection:
            connection.execute(update(JobRow).values({flag: True}))
        assert store.stop_requested()
        with engine.begin() as connection:
            connection.execute(update(JobRow).values({flag: False}))


def test_progress_forgets_crashes(engine: Engine, store: SqlRunStore) -> None:
    def crashes_after(step: Callable[[], None]) -> int:
        with engine.begin() as connection:
            connection.execute(update(JobRow).values(crashes=2))
        step()
        with reading(engine) as connection:
            return Jobs(connection).get(store._lease.job_id).crashes

    assert crashes_after(lambda: store.propose(Role.SEARCH, 0, proposals([1]))) == 2
    assert crashes_after(lambda: store.record(measured(1), split="search", choices=None)) == 0
    assert crashes_after(lambda: store.finish_generation(record(0, [1]), [])) == 0


_WRITES: dict[str, Callable[[SqlRunStore], object]] = {
    "lay_foundation": lambda s: s.lay_foundation(FOUNDATION),
    "add_float_metrics": lambda s: s.add_float_metrics({"test_error": 1.0}),
    "propose": lambda s: s.propose(Role.SEARCH, 1, proposals([4])),
    "record": lambda s: s.record(measured(9), split="search", choices=None),
    "record a verdict": lambda s: s.record(
        Outcome(key="key-9", status=Status.LOST), split="search", choices=None
    ),
    "conclude": lambda s: s.conclude(Role.SEARCH, evaluations([1], 0)),
    "finish_generation": lambda s: s.finish_generation(record(1, [1]), []),
    "add_test_metrics": lambda s: s.add_test_metrics(Role.SEARCH, {design(1).hash: {"x": 1.0}}),
    "note": lambda s: s.note("kind", {}),
    "record_retraining": lambda s: s.record_retraining(retrained(9), retraining(9)),
    "record a verdict on a retraining": lambda s: s.record_retraining(
        Outcome(key="retraining-9", status=Status.FAILED), retraining(9)
    ),
    "lose_beacon": lambda s: s.lose_beacon(1, "gone"),
    "dispatched": lambda s: s.dispatched(["key-9"]),
    "died": lambda s: s.died("key-9", alone=True),
}


@pytest.mark.parametrize("write", _WRITES.values(), ids=_WRITES)
def test_a_driver_that_lost_its_job_writes_nothing(
    engine: Engine, store: SqlRunStore, write: Callable[[SqlRunStore], object]
) -> None:
    run_generation(store, 0, [1], [1])
    take(engine, store._lease.job_id)
    before = _contents(engine)

    with pytest.raises(FencedOutError, match="no longer held under attempt 1"):
        write(store)
    assert _contents(engine) == before


def _contents(engine: Engine) -> dict[str, list[tuple[object, ...]]]:
    with reading(engine) as connection:
        return {
            table.name: [
                tuple(v for column, v in row._mapping.items() if column != "lease_until")
                for row in connection.execute(table.select())
            ]
            for table in Base.metadata.sorted_tables
        }


def _events(engine: Engine, store: SqlRunStore) -> list[Event]:
    with reading(engine) as connection:
        return Results(connection).events(store._lease.job_id)


def _evaluations(engine: Engine, store: SqlRunStore) -> list[Evaluation]:
    with reading(engine) as connection:
        return Results(connection).evaluations(store._lease.job_id)
