"""One suite for every pool."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from dse.design import Choices, Design
from dse.errors import FencedOutError, Interrupted, StoreUnavailableError
from dse.ports import Pool
from dse.tasks import CurvePoint, Report, Retrained, Status
from evaluators.pools.inline import InlinePool
from evaluators.pools.processes import ProcessPool
from tests.evaluators.fake_network import TinyNetwork, tiny_evaluator
from tests.evaluators.pools.fakes import collect, obedient, request, retraining

STOPS = (Interrupted("stopped"), FencedOutError("taken over"), StoreUnavailableError("away"))


def _inline() -> Pool:
    return InlinePool(obedient())


def _two_processes() -> Pool:
    return ProcessPool("tests.evaluators.pools.fakes:obedient", slots=2)


@pytest.fixture(params=[_inline, _two_processes], ids=["inline", "processes"])
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    make: Callable[[], Pool] = request.param
    with closing(make()) as made:
        yield made


def test_every_request_is_answered_once(pool: Pool) -> None:
    keys = [f"echo-{i:03}" for i in range(50)]

    pool.submit([request(key, {"w_bits": {"a": i}}) for i, key in enumerate(keys, 1)])
    found = collect(pool, len(keys))

    assert {key: found[key].metrics for key in keys} == {
        key: {"error": float(i)} for i, key in enumerate(keys, 1)
    }
    assert all(outcome.status is Status.OK for outcome in found.values())
    assert all(outcome.reason is None for outcome in found.values())
    assert pool.poll(0.0) == []


def test_more_can_be_submitted_at_any_time(pool: Pool) -> None:
    pool.submit([request("echo-1")])
    pool.submit([request("echo-2"), request("echo-3")])
    first = collect(pool, 3)
    pool.submit([request("echo-1")])

    assert collect(pool, 1)["echo-1"].metrics == first["echo-1"].metrics


def test_frozen_choices_are_taken_as_they_are(pool: Pool) -> None:
    pool.submit([request("echo", Design({"w_bits": {"a": 4, "b": 3}}).choices)])

    assert collect(pool, 1)["echo"].metrics == {"error": 7.0}


def test_retraining_is_answered_with_its_weights(pool: Pool) -> None:
    design = Design({"w_bits": {"a": 4, "b": 3}})

    pool.submit([request("echo-1", design.choices), retraining("echo-2", design.choices)])
    found = collect(pool, 2)

    assert found["echo-1"].retrained is None
    assert found["echo-2"].status is Status.OK
    assert found["echo-2"].metrics is None
    curve = (CurvePoint(step=3, loss=0.5, error=7.0),)
    assert found["echo-2"].retrained == Retrained(
        digest="0" * 64, size=7, best_step=3, curve=curve
    )


def test_retraining_fails_and_times_out_as_a_request_does(pool: Pool) -> None:
    pool.submit([retraining("raise-1", {}), retraining("sleep-0.4", {}, timeout_s=0.2)])
    found = collect(pool, 2)

    assert found["raise-1"].reason == "ValueError: bits must be 2..8, got 9"
    assert found["sleep-0.4"].status is Status.TIMEOUT
    assert found["raise-1"].retrained is found["sleep-0.4"].retrained is None


def test_reports_tell_how_far_tasks_are_once(pool: Pool) -> None:
    pool.submit([retraining("tell-1", {}), request("echo-1")])
    collect(pool, 2)

    (report,) = pool.reports()

    assert (report.key, report.label, report.total) == ("tell-1", "telling", 1000)
    assert 1 <= report.done <= 1000
    assert pool.reports() == []


def test_cancel_drops_reports_too(pool: Pool) -> None:
    pool.submit([retraining("tell-1", {})])
    collect(pool, 1)

    pool.cancel()

    assert pool.reports() == []


@pytest.mark.parametrize("stop", STOPS, ids=lambda stop: type(stop).__name__)
def test_whoever_watches_an_inline_pool_can_leave_it_at_once(stop: Exception) -> None:
    told = []

    def watch(label: str, done: int, total: int) -> None:
        told.append((label, done, total))
        if len(told) == 3:
            raise stop

    with closing(InlinePool(obedient(), watch=watch)) as pool:
        pool.submit([retraining("tell-1", {}), request("echo-1")])

        with pytest.raises(type(stop)):
            pool.poll(1.0)

        assert told == [("telling", done, 1000) for done in (1, 2, 3)]
        assert pool.reports() == [Report(key="tell-1", label="telling", done=3, total=1000)]
        assert set(collect(pool, 2)) == {"tell-1", "echo-1"}


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("raise-1", "ValueError: bits must be 2..8, got 9"),
        ("unpicklable-1", "Unpicklable"),
        ("nan-1", "metric 'error' must be finite, got nan"),
    ],
)
def test_exception_fails_its_request_alone(pool: Pool, key: str, reason: str) -> None:
    pool.submit([request("echo-1"), request(key), request("echo-2")])
    found = collect(pool, 3)

    assert found[key].status is Status.FAILED
    assert found[key].reason == reason
    assert found[key].metrics is None
    assert found["echo-1"].status is found["echo-2"].status is Status.OK


def test_reason_of_a_huge_exception_is_short(pool: Pool) -> None:
    pool.submit([request("huge-1")])

    reason = collect(pool, 1)["huge-1"].reason

    assert reason is not None
    assert reason.startswith("ValueError: xxx")
    assert len(reason) < 1000


def test_request_beyond_its_timeout_is_told_as_such(pool: Pool) -> None:
    pool.submit([request("sleep-0.4-a", timeout_s=0.2), request("echo-1")])
    found = collect(pool, 2)

    assert found["sleep-0.4-a"].status is Status.TIMEOUT
    assert found["sleep-0.4-a"].reason == "no result within 0.2 s"
    assert found["sleep-0.4-a"].metrics is None
    assert found["echo-1"].status is Status.OK


def test_key_that_is_still_unanswered_is_refused_with_its_whole_batch(pool: Pool) -> None:
    pool.submit([request("echo-1")])

    with pytest.raises(ValueError, match="'echo-1'"):
        pool.submit([request("echo-2"), request("echo-1")])
    with pytest.raises(ValueError, match="'echo-3'"):
        pool.submit([request("echo-3"), request("echo-3")])

    assert list(collect(pool, 1)) == ["echo-1"]
    assert pool.poll(0.0) == []


def test_cancel_drops_everything_and_the_pool_goes_on(pool: Pool) -> None:
    pool.submit([request(f"sleep-0.05-{i}") for i in range(20)])
    collect(pool, 1)

    pool.cancel()

    assert pool.poll(0.0) == []
    pool.submit([request("echo-1"), request("sleep-0.05-1")])
    assert set(collect(pool, 2)) == {"echo-1", "sleep-0.05-1"}


def test_empty_pool_does_not_wait(pool: Pool) -> None:
    started = time.monotonic()

    pool.submit([])

    assert pool.poll(30.0) == []
    assert time.monotonic() - started < 5.0


def test_closed_pool_takes_nothing_and_may_be_closed_again(pool: Pool) -> None:
    pool.submit([request("echo-1")])
    pool.close()
    pool.close()

    with pytest.raises(ValueError, match="closed"):
        pool.submit([request("echo-2")])
    assert pool.poll(0.0) == []


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_processes_measure_what_the_calling_process_measures(slots: int) -> None:
    layers = TinyNetwork().shape.names
    designs: list[Choices | None] = [
        {"w_bits": {layers[0]: w}, "a_bits": {layers[1]: a}} for w in (2, 4, 8) for a in (2, 3, 16)
    ]
    requests = [request(str(i), choices) for i, choices in enumerate([None, *designs])]
    target = "tests.evaluators.fake_network:tiny_evaluator"

    found = []
    for pool in (InlinePool(tiny_evaluator()), ProcessPool(target, slots=slots)):
        with closing(pool):
            pool.submit(requests)
            outcomes = collect(pool, len(requests))
        found.append({key: outcome.metrics for key, outcome in outcomes.items()})

    assert found[0] == found[1]
