from collections.abc import Callable

import pytest

from dse.beacons import Policy
from dse.design import Design, Evaluation
from dse.errors import Interrupted, SpecError, UnknownNameError
from dse.ports import Role, silent
from dse.search import Search
from dse.tasks import Outcome, Report, Request, Retraining, Status, Task
from tests.fakes import (
    FakePool,
    FakeVault,
    fake_error,
    fake_key,
    fake_problem,
    fake_retraining_key,
    good_outcome,
)
from tests.memory_store import MemoryStore

REACH = 4
BEACONS = {
    "enabled": True,
    "distance": REACH,
    "window": [10, 25],
    "gates": {"speedup": {"min": 4}},
    "max_beacons": 3,
    "steps": 7,
}


def run(
    store: MemoryStore,
    pool: FakePool | None = None,
    vault: FakeVault | None = None,
    **beacons: object,
) -> MemoryStore:
    problem = fake_problem(beacons={**BEACONS, **beacons})
    Search(
        problem,
        pool=pool or FakePool(),
        store=store,
        vault=vault or FakeVault(),
        key=fake_key,
        retraining_key=fake_retraining_key,
        progress=silent,
    ).run()
    return store


def searched(store: MemoryStore) -> list[Evaluation]:
    return [e for (r, _), rows in store.concluded.items() if r is Role.SEARCH for e in rows]


def policy(**beacons: object) -> Policy:
    return Policy(
        rules=fake_problem(beacons={**BEACONS, **beacons}).spec.beacons, float_error=10.0
    )


def test_every_design_keeps_the_better_of_its_errors_and_says_both() -> None:
    rows = [e for e in searched(run(MemoryStore())) if e.measured]

    assert all(e.base_error == fake_error(e.design.choices) for e in rows)
    for e in rows:
        known = [e.base_error, *([e.beacon.error] if e.beacon else [])]
        assert e.metrics["error"] == min(x for x in known if x is not None)
        assert (e.origin == "base") == (e.metrics["error"] == e.base_error)
    assert {e.origin for e in rows} >= {"base", "beacon 1"}


def test_readings_name_a_beacon_and_its_distance() -> None:
    store = run(MemoryStore())

    for e in searched(store):
        if e.beacon is not None:
            its = store.made[e.beacon.number - 1]
            assert e.beacon.distance == policy().between(e.design, its.design)


def test_metrics_of_a_design_come_from_one_set_of_weights() -> None:
    for e in searched(run(MemoryStore())):
        if e.measured:
            assert e.metrics["frame_error"] == e.metrics["error"] / 2


def test_only_designs_in_the_window_and_through_the_gates_become_beacons() -> None:
    store = run(MemoryStore())

    assert 0 < len(store.made) <= 3
    by_hash = {e.design.hash: e for e in searched(store)}
    for beacon in store.made:
        its = by_hash[beacon.design.hash]
        assert its.base_error is not None
        assert policy().eligible(its.metrics, its.base_error)
        assert its.beacon is not None
        assert its.beacon.distance == 0 or its.origin != f"beacon {beacon.number}"


def test_the_preferred_cost_says_who_becomes_a_beacon_first() -> None:
    def first(**beacons: object) -> Evaluation:
        store = run(MemoryStore(), None, None, at_once=1, **beacons)
        by_hash = {e.design.hash: e for e in searched(store)}
        return by_hash[store.made[0].design.hash]

    rows = [e for e in searched(run(MemoryStore(), enabled=False)) if e.generation == 0]
    able = [
        e for e in rows if e.base_error is not None and policy().eligible(e.metrics, e.base_error)
    ]

    assert len(able) > 1
    assert first().design == able[0].design
    fastest = max(able, key=lambda e: e.metrics["speedup"])
    assert first(prefer="speedup").design == fastest.design
    smallest = min(able, key=lambda e: e.metrics["memory_mib"])
    assert first(prefer="memory_mib").metrics["memory_mib"] == smallest.metrics["memory_mib"]


def test_designs_that_had_to_wait_may_become_beacons_too() -> None:
    store = run(MemoryStore(), at_once=1, spacing=2, prefer="speedup", distance=1)
    by_hash = {e.design.hash: e for e in searched(store)}

    for before, beacon in zip(store.made, store.made[1:], strict=False):
        since = [
            e
            for e in by_hash.values()
            if before.generation < e.generation <= beacon.generation
            and e.base_error is not None
            and policy().eligible(e.metrics, e.base_error)
            and all(
                policy().between(e.design, b.design) > 1 for b in store.made[: beacon.number - 1]
            )
        ]
        its = by_hash[beacon.design.hash]
        assert its.metrics["speedup"] == max(e.metrics["speedup"] for e in since)
    waited = [b for b in store.made if by_hash[b.design.hash].generation < b.generation]
    assert waited
    for b in waited:
        reading = by_hash[b.design.hash].beacon
        assert reading is not None
        assert (reading.number, reading.distance) == (b.number, 0)


def test_beacons_lie_out_of_each_others_reach_and_are_numbered_in_order() -> None:
    made = run(MemoryStore()).made

    assert [b.number for b in made] == list(range(1, len(made) + 1))
    assert [b.generation for b in made] == sorted(b.generation for b in made)
    pairs = [(a, b) for i, a in enumerate(made) for b in made[:i]]
    assert all(policy().between(a.design, b.design) > REACH for a, b in pairs)


def test_survivors_that_a_new_beacon_is_nearest_to_are_judged_again() -> None:
    store = run(MemoryStore())

    later = [
        e
        for e in searched(store)
        if e.beacon is not None and store.made[e.beacon.number - 1].generation > e.generation
    ]

    assert later


def test_the_front_is_made_of_what_stands_after_judging() -> None:
    store = run(MemoryStore())
    feasible = {e.design.hash: e for e in searched(store) if e.feasible}

    front = [feasible[h] for h in store.records[-1].front]

    plain = run(MemoryStore(), enabled=False)
    for e in front:
        others = [o for o in feasible.values() if o.metrics["speedup"] >= e.metrics["speedup"]]
        assert e.metrics["error"] == min(o.metrics["error"] for o in others)
    assert store.records[-1].hypervolume > plain.records[-1].hypervolume


def test_the_test_split_is_looked_at_on_the_weights_that_the_error_came_from() -> None:
    pool = FakePool()
    store = run(MemoryStore(), pool)

    front = [e for e in searched(store) if e.design.hash in store.records[-1].front]
    on_test = {
        Design(t.choices).hash: t.weights
        for t in pool.ran
        if isinstance(t, Request) and t.split == "test" and t.choices and t.weights
    }
    from_beacons = {e.design.hash: e for e in front if e.origin != "base"}
    assert from_beacons
    for design_hash, e in from_beacons.items():
        assert e.beacon is not None
        assert on_test[design_hash] == store.made[e.beacon.number - 1].digest
        assert store.test[Role.SEARCH, design_hash]["test_error"] == e.metrics["error"] + 0.5


def test_no_order_of_arrival_changes_anything() -> None:
    class Forward(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            self.ran.append(self.waiting.pop(0))
            return [good_outcome(self.ran[-1])]

    assert run(MemoryStore()).results() == run(MemoryStore(), Forward()).results()


def stopping(after: int, ran: list[Task]) -> Callable[[Task], Outcome]:
    def outcome(task: Task) -> Outcome:
        if len(ran) > after:
            raise Interrupted("stop")
        return good_outcome(task)

    return outcome


@pytest.mark.parametrize("after", range(0, 150, 6))
def test_a_run_stopped_anywhere_and_resumed_equals_an_undisturbed_one(after: int) -> None:
    undisturbed = run(MemoryStore())
    store, pool = MemoryStore(), FakePool()
    pool.outcome = stopping(after, pool.ran)
    try:
        run(store, pool)
    except Interrupted:
        run(store)

    assert store.results() == undisturbed.results()


def test_a_retraining_that_fails_is_told_of_and_everything_goes_on_without() -> None:
    def outcome(task: Task) -> Outcome:
        if isinstance(task, Retraining):
            return Outcome(key=task.key, status=Status.FAILED, reason="the loss is not finite")
        return good_outcome(task)

    store = run(MemoryStore(), FakePool(outcome))

    assert [b.digest for b in store.made] == [None] * 3
    assert {b.reason for b in store.made} == {"FAILED: the loss is not finite"}
    assert {e.origin for e in searched(store) if e.measured} == {"base"}
    assert len(store.records) == 6


def test_lost_weights_are_told_of_and_never_used_again() -> None:
    vault, pool = FakeVault(), FakePool()
    store = MemoryStore()

    def outcome(task: Task) -> Outcome:
        if len(store.records) == 3:
            vault.lost.update(b.digest for b in store.made if b.digest)
        return good_outcome(task)

    pool.outcome = outcome
    run(store, pool, vault)

    assert "beacon.lost" in store.notes
    lost = [b.number for b in store.made if b.digest is None]
    assert lost
    late = [e for e in searched(store) if e.generation >= 4 and e.beacon is not None]
    assert not {e.beacon.number for e in late if e.beacon} & set(lost)


def test_a_front_member_whose_weights_are_lost_gets_no_test_figure_from_others() -> None:
    store = MemoryStore()

    class Burnt(FakeVault):
        """Holds nothing once the last generation is over."""

        def intact(self, digest: str) -> bool:
            return len(store.records) < 6

    run(store, vault=Burnt())

    front = {e.design.hash: e for e in searched(store) if e.design.hash in store.records[-1].front}
    from_beacons = {h for h, e in front.items() if e.origin != "base"}
    tested = {h for role, h in store.test if role is Role.SEARCH}
    assert from_beacons
    assert tested == set(front) - from_beacons
    assert store.notes.count("beacon.unavailable") == len(from_beacons)


@pytest.mark.parametrize(("further", "poisoned"), [(True, False), (False, True)])
def test_deaths_of_a_retraining_count_only_if_it_came_no_further(
    further: bool, poisoned: bool
) -> None:
    class Dying(FakePool):
        """A retraining dies six times before it is done."""

        deaths: dict[str, int] = {}

        def reports(self) -> list[Report]:
            return [
                Report(key=key, label="retraining", done=times if further else 1, total=7)
                for key, times in self.deaths.items()
            ]

    pool = Dying()
    pool.deaths = {}

    def outcome(task: Task) -> Outcome:
        if isinstance(task, Retraining) and pool.deaths.get(task.key, 0) < 6:
            pool.deaths[task.key] = pool.deaths.get(task.key, 0) + 1
            return Outcome(key=task.key, status=Status.LOST, reason="signal 9")
        return good_outcome(task)

    pool.outcome = outcome
    store = run(MemoryStore(), pool)

    assert store.made
    assert all((b.digest is None) == poisoned for b in store.made)
    if not poisoned:
        assert store.results() == run(MemoryStore()).results()


def test_a_design_that_cannot_be_run_on_its_beacon_keeps_its_base_error() -> None:
    def outcome(task: Task) -> Outcome:
        if isinstance(task, Request) and task.weights is not None and task.split == "search":
            return Outcome(key=task.key, status=Status.FAILED, reason="weights are missing")
        return good_outcome(task)

    store = run(MemoryStore(), FakePool(outcome))

    assert "beacon.unavailable" in store.notes
    assert {e.origin for e in searched(store) if e.measured} == {"base"}


def test_weights_that_the_vault_has_not_are_made_again() -> None:
    first = run(MemoryStore())
    store, pool, vault = MemoryStore(), FakePool(), FakeVault()
    store.retrained, store.measured = dict(first.retrained), dict(first.measured)
    gone = first.made[0].digest
    assert gone is not None
    vault.lost.add(gone)

    class Mending(FakePool):
        def poll(self, timeout_s: float) -> list[Outcome]:
            found = super().poll(timeout_s)
            if any(o.retrained is not None and o.retrained.digest == gone for o in found):
                vault.lost.discard(gone)
            return found

    pool = Mending()
    run(store, pool, vault)

    assert [t.key for t in pool.ran if isinstance(t, Retraining)] == [first.made[0].key]
    assert store.results() == first.results()


def test_the_same_seed_and_steps_name_a_retraining() -> None:
    pool = FakePool()
    store = run(MemoryStore(), pool)

    tasks = [t for t in pool.ran if isinstance(t, Retraining)]
    assert {(t.steps, t.seed) for t in tasks} == {(7, 3)}
    assert {t.key for t in tasks} == {b.key for b in store.made}


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"workload": {"name": "fake-untrainable"}}, SpecError, "fake-untrainable.*training"),
        (
            {"beacons": {"enabled": True, "gates": {"error": {"min": 1}}}},
            SpecError,
            "gates.*'error'",
        ),
        ({"beacons": {"enabled": True, "prefer": "error"}}, SpecError, "prefer.*speedup.*'error'"),
        (
            {"beacons": {"enabled": True, "knob_weights": {"sort": 1}}},
            UnknownNameError,
            "knob_weights.*'sort'.*w_bits",
        ),
    ],
)
def test_beacons_that_cannot_be_are_refused_before_anything_is_queued(
    changes: dict[str, object], error: type[Exception], says: str
) -> None:
    data = {"beacons": {"enabled": True}, **changes}

    with pytest.raises(error, match=says):
        fake_problem(**data)


def test_without_beacons_nothing_is_retrained() -> None:
    pool = FakePool()
    store = run(MemoryStore(), pool, enabled=False)

    assert not [t for t in pool.ran if isinstance(t, Retraining)]
    assert {e.beacon for e in searched(store)} == {None}
