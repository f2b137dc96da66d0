from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from dse.design import Choices, Design
from dse.errors import DriftError, EvaluationError, Interrupted, SpecError
from dse.pareto import non_dominated
from dse.ports import EvaluationKey, Role, silent
from dse.search import Search
from dse.tasks import Outcome, Status, Task
from tests.fakes import (
    FakePool,
    FakeVault,
    fake_key,
    fake_problem,
    fake_retraining_key,
    good_outcome,
)
from tests.memory_store import MemoryStore


def run(
    store: MemoryStore,
    pool: FakePool | None = None,
    vault: FakeVault | None = None,
    key: EvaluationKey = fake_key,
    **changes: object,
) -> MemoryStore:
    problem = fake_problem(**changes)
    Search(
        problem,
        pool=pool or FakePool(),
        store=store,
        vault=vault or FakeVault(),
        key=key,
        retraining_key=fake_retraining_key,
        progress=silent,
    ).run()
    return store


def other_key(
    choices: Choices | None,
    arithmetic: Mapping[str, Mapping[str, int | str]],
    split: str,
    weights: str | None = None,
) -> str:
    """The keys of another network."""
    return "other " + fake_key(choices, arithmetic, split, weights)


def small(**changes: object) -> dict[str, object]:
    return {"population": 12, "offspring": 6, "generations": 6, "seed": 3, **changes}


def test_front_is_the_non_dominated_feasible_part_of_all_evaluations() -> None:
    store = run(MemoryStore())

    rows = [e for (role, _), es in store.concluded.items() if role is Role.SEARCH for e in es]
    feasible = [e for e in rows if e.feasible]
    objectives = fake_problem().objectives([e.metrics for e in feasible])
    expected = {feasible[i].design.hash for i in non_dominated(objectives).nonzero()[0]}
    assert set(store.records[-1].front) == expected
    assert len(expected) >= 3


def test_no_design_is_proposed_twice_and_no_network_is_run_twice() -> None:
    pool = FakePool()
    store = run(MemoryStore(), pool)

    hashes = [
        p.design.hash
        for (role, _), ps in store.proposals.items()
        if role is Role.SEARCH
        for p in ps
    ]
    keys = [request.key for request in pool.ran]
    assert len(hashes) == len(set(hashes)) == 12 + 5 * 6
    assert len(keys) == len(set(keys))


def test_designs_whose_costs_break_a_constraint_never_reach_the_network() -> None:
    pool = FakePool()
    store = run(MemoryStore(), pool)

    searched = [e for (r, _), es in store.concluded.items() if r is Role.SEARCH for e in es]
    too_large = {e.design.hash for e in searched if e.metrics["memory_mib"] > 0.0008}
    probed = {
        p.design.hash for (r, _), ps in store.proposals.items() if r is not Role.SEARCH for p in ps
    }
    ran = {Design(r.choices).hash for r in pool.ran if r.choices is not None}
    assert too_large
    assert not (too_large - probed) & ran
    assert all(not e.feasible and not e.measured for e in searched if e.design.hash in too_large)


def test_same_spec_gives_same_results_whatever_the_order_of_arrival() -> None:
    class Forward(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            self.ran.append(self.waiting.pop(0))
            return [good_outcome(self.ran[-1])]

    assert run(MemoryStore()).results() == run(MemoryStore(), Forward()).results()


def test_another_seed_gives_another_search() -> None:
    other = run(MemoryStore(), search=small(seed=4))

    assert run(MemoryStore()).results() != other.results()


@pytest.mark.parametrize("after", [0, 1, 7, 40, 47, 52, 60, 71, 80])
def test_a_run_stopped_anywhere_and_resumed_equals_an_undisturbed_one(after: int) -> None:
    class Dying(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            if len(self.ran) >= after:
                raise KeyboardInterrupt
            return super().poll(timeout_s)

    undisturbed = run(MemoryStore()).results()
    store = MemoryStore()
    pool = Dying()
    with pytest.raises(KeyboardInterrupt):
        run(store, pool)

    run(store)

    assert pool.cancelled
    assert store.results() == undisturbed


def test_resuming_a_finished_run_runs_nothing() -> None:
    store = run(MemoryStore())
    before = store.results()
    pool = FakePool()

    run(store, pool)

    assert not pool.ran
    assert store.results() == before


def test_resuming_under_another_search_is_refused() -> None:
    class Dying(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            if len(self.ran) > 60:
                raise KeyboardInterrupt
            return super().poll(timeout_s)

    store = MemoryStore()
    with pytest.raises(KeyboardInterrupt):
        run(store, Dying())

    with pytest.raises(DriftError):
        run(store, search=small(seed=4))


@pytest.mark.parametrize("after", [1, 7, 40, 60, 71, 1000])
@pytest.mark.parametrize("baselines", [["uniform", "greedy"], []])
def test_resuming_or_extending_on_another_network_is_refused(
    after: int, baselines: list[str]
) -> None:
    class Dying(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            if len(self.ran) >= after:
                raise KeyboardInterrupt
            return super().poll(timeout_s)

    store = MemoryStore()
    with suppress(KeyboardInterrupt):
        run(store, Dying(), search=small(baselines=baselines))
    proposed = {place: list(rows) for place, rows in store.proposals.items()}
    concluded = {place: list(rows) for place, rows in store.concluded.items()}

    with pytest.raises(DriftError, match="another network.*clone this one"):
        run(store, search=small(baselines=baselines, generations=8), key=other_key)
    assert proposed == store.proposals
    assert concluded == store.concluded


def test_a_job_that_stored_only_a_foundation_is_not_resumed_on_another_float_network() -> None:
    class Worse(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            return [
                replace(o, metrics={n: v + 1.0 for n, v in (o.metrics or {}).items()})
                for o in super().poll(timeout_s)
            ]

    store = MemoryStore()
    search = small(baselines=[])
    run(store, search=search)
    store.records, store.proposals, store.concluded = [], {}, {}

    with pytest.raises(DriftError, match="float network was measured on another network"):
        run(store, Worse(), search=search, key=other_key)


def test_seeded_front_is_never_worse_than_the_feasible_baselines_of_the_space() -> None:
    store = run(MemoryStore(), search=small(seed_designs=["uniform", "greedy"]))

    problem = fake_problem()
    front = problem.objectives([e.metrics for e in store.front()])
    for (role, _), evaluations in store.concluded.items():
        for e in evaluations:
            if role is Role.BASELINE and e.feasible and problem.space.encode(e.design):
                own = problem.objectives([e.metrics])
                assert ((front <= own).all(axis=1)).any()


def test_hypervolume_never_falls() -> None:
    volumes = [record.hypervolume for record in run(MemoryStore()).records]

    assert volumes == sorted(volumes)
    assert volumes[-1] > 0


def test_reference_point_falls_back_to_the_worst_feasible_baseline() -> None:
    store = run(MemoryStore(), reference_point=None)

    assert store.laid is not None
    rows = [e for (r, _), es in store.concluded.items() if r is Role.BASELINE for e in es]
    feasible = [e.metrics for e in rows if e.feasible]
    assert store.laid.reference_point == {
        "error": max(m["error"] for m in feasible),
        "speedup": min(m["speedup"] for m in feasible),
    }


def test_reference_point_must_be_given_without_baselines() -> None:
    with pytest.raises(SpecError, match="reference_point must be given"):
        run(MemoryStore(), reference_point=None, search=small(baselines=[]))


def test_test_split_is_measured_for_front_and_baselines_alone() -> None:
    pool = FakePool()
    store = run(MemoryStore(), pool)

    tested = {h for role, h in store.test if role is Role.SEARCH}
    assert tested == set(store.records[-1].front)
    assert any(role is Role.BASELINE for role, _ in store.test)
    assert all("test_error" in metrics for metrics in store.test.values())
    assert store.extra == {
        "test_error": 10.5,
        "test_frame_error": 5.25,
        "unseen_error": 12.0,
        "unseen_frame_error": 6.0,
    }
    first_test = next(i for i, r in enumerate(pool.requests) if r.split == "test")
    assert all(r.split != "search" for r in pool.requests[first_test:])


def test_a_design_that_cannot_be_measured_is_infeasible_and_the_search_goes_on() -> None:
    def outcome(request: Task) -> Outcome:
        if request.choices is not None and request.choices["a_bits"]["in"] == 2:
            return Outcome(key=request.key, status=Status.FAILED, reason="no such kernel")
        return good_outcome(request)

    store = run(MemoryStore(), FakePool(outcome), search=small(baselines=["uniform"]))

    rows = [e for (r, _), es in store.concluded.items() if r is Role.SEARCH for e in es]
    failed = [e for e in rows if e.reason == "FAILED: no such kernel"]
    assert failed
    assert all(e.violation >= 1 and not e.feasible for e in failed)
    assert len(store.records) == 6
    assert sum(record.counts["failed"] for record in store.records) == len(failed)


def test_a_design_whose_process_dies_is_run_again_alone() -> None:
    lost: set[str] = set()
    crowd: list[int] = []

    class Watching(FakePool):
        def submit(self, tasks: Sequence[Task]) -> None:
            super().submit(tasks)
            if any(task.key in lost for task in tasks):
                crowd.append(len(self.waiting))

    def outcome(request: Task) -> Outcome:
        if request.key not in lost:
            lost.add(request.key)
            return Outcome(key=request.key, status=Status.LOST, reason="signal 9")
        return good_outcome(request)

    store = run(MemoryStore(), Watching(outcome))

    assert crowd
    assert set(crowd) == {1}
    assert not store.refused
    assert store.results() == run(MemoryStore()).results()


def test_a_design_that_kills_its_process_three_times_alone_is_infeasible() -> None:
    deaths: dict[str, int] = {}

    def outcome(request: Task) -> Outcome:
        if request.choices is not None and request.choices["a_bits"]["in"] == 2:
            deaths[request.key] = deaths.get(request.key, 0) + 1
            return Outcome(key=request.key, status=Status.LOST, reason="signal 9")
        return good_outcome(request)

    store = run(MemoryStore(), FakePool(outcome), search=small(baselines=["uniform"]))

    assert set(deaths.values()) == {4}
    assert set(store.refused) == set(deaths)
    assert all(reason.startswith("POISONED: ") for reason in store.refused.values())
    assert len(store.records) == 6


def test_a_design_that_kills_its_driver_is_infeasible_in_the_end() -> None:
    class Deadly(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            if any(r.choices and r.choices["a_bits"]["in"] == 2 for r in self.waiting):
                raise SystemExit
            return super().poll(timeout_s)

    class Abrupt(MemoryStore):
        """A dead driver withdraws nothing."""

        def dispatched(self, keys: Iterable[str], *, alone: bool = False) -> None:
            keys = list(keys)
            if alone or not any(self.in_flight.get(key) for key in keys):
                super().dispatched(keys, alone=alone)

    store = Abrupt()
    for _ in range(400):
        try:
            run(store, Deadly(), search=small(baselines=["uniform"]))
            break
        except SystemExit:
            pass

    assert len(store.records) == 6
    poisoned = [r for r in store.refused.values() if r.startswith("POISONED: ")]
    assert poisoned
    assert len(poisoned) == len(store.refused)


def test_nothing_measurable_is_an_error_of_the_job() -> None:
    def outcome(request: Task) -> Outcome:
        if request.choices is None:
            return good_outcome(request)
        return Outcome(key=request.key, status=Status.FAILED, reason="broken")

    with pytest.raises(EvaluationError, match="no design can be measured.*broken"):
        run(MemoryStore(), FakePool(outcome), search=small(baselines=[]))


def test_a_float_network_that_cannot_be_measured_is_an_error_of_the_job() -> None:
    def outcome(request: Task) -> Outcome:
        return Outcome(key=request.key, status=Status.TIMEOUT, reason="600 s")

    with pytest.raises(EvaluationError, match="unquantized network.*TIMEOUT: 600 s"):
        run(MemoryStore(), FakePool(outcome))


def test_an_exhausted_space_ends_the_search_well() -> None:
    knobs = [{"knob": "w_bits", "choices": [2, 4]}, {"knob": "a_bits", "choices": [8]}]
    store = run(MemoryStore(), knobs=knobs)

    rows = [p for (r, _), ps in store.proposals.items() if r is Role.SEARCH for p in ps]
    assert len(rows) == 8
    assert store.notes == ["search.exhausted"]


def test_a_requested_stop_interrupts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dse.dispatch._POLL_S", 0.0)
    store = MemoryStore()
    store.stop = True

    with pytest.raises(Interrupted):
        run(store)
