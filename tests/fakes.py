"""Hand-written stand-ins for the ports: small, honest, in memory."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dse.beacons import distance
from dse.catalogue import check
from dse.design import (
    Choices,
    Design,
    Layer,
    NetworkShape,
    Value,
    content_hash,
)
from dse.errors import UnknownNameError
from dse.knobs import BITS, KNOBS
from dse.ports import FloatArray, IntArray
from dse.problem import Problem
from dse.spec import JobSpec, spec_from_data
from dse.tasks import CurvePoint, Outcome, Report, Request, Retrained, Retraining, Status, Task

LAYERS = ("in", "mid", "out")
SPLIT_SHIFTS = {"search": 0.0, "test": 0.5, "unseen": 2.0}


class FakeWorkload:
    """Three layers whose error grows as their widths shrink."""

    name = "fake"
    params: Mapping[str, object] = {}
    metrics: tuple[str, ...] = ("error", "frame_error")
    splits: tuple[str, ...] = ("search", "test", "unseen")
    trainable = True
    needs: str | None = None
    defaults: Mapping[str, Value] = {}
    shape = NetworkShape(
        layers=tuple(Layer(name=n, k=8 * (i + 1), n=16) for i, n in enumerate(LAYERS)),
        vector_parameters=10,
        elementwise_operations=5,
    )


class FakeShape(FakeWorkload):
    name = "fake-shape"
    trainable = False
    metrics: tuple[str, ...] = ()


class FakeUntrainable(FakeWorkload):
    name = "fake-untrainable"
    trainable = False


class FakePlatform:
    """Memory by weight bits, speed by both."""

    name = "fake-chip"
    params: Mapping[str, object] = {}
    knobs: Mapping[str, tuple[Value, ...]] = {
        "w_bits": (2, 4, 8, 16),
        "a_bits": (2, 4, 8, 16),
    }
    tied: tuple[tuple[str, ...], ...] = ()
    metrics: tuple[str, ...] = ("memory_mib", "speedup")
    rules: Mapping[str, int | str] = {}
    constants: list[dict[str, float | str]] = []

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        return self.rules

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        w = np.asarray(BITS)[choices["w_bits"]]
        a = np.asarray(BITS)[choices["a_bits"]]
        weights = np.asarray([layer.weights for layer in shape.layers])
        return {
            "memory_mib": (weights * w).sum(axis=1) / 8 / 2**20,
            "speedup": (weights * 256 / (w * a)).sum(axis=1) / weights.sum(),
        }

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        return [{"layer": layer.name} for layer in shape.layers]


class TiedPlatform(FakePlatform):
    name = "tied-chip"
    knobs: Mapping[str, tuple[Value, ...]] = {"w_bits": (4, 8, 16), "a_bits": (4, 8, 16)}
    tied: tuple[tuple[str, ...], ...] = (("w_bits", "a_bits"),)


class RuledPlatform(FakePlatform):
    name = "ruled-chip"
    rules: Mapping[str, int | str] = {"tile": 8}


class SumPlatform(FakePlatform):
    """Stores the partial sums of tiles of 8: one of "in", two of "mid", three of "out"."""

    name = "sum-chip"
    knobs: Mapping[str, tuple[Value, ...]] = {
        **FakePlatform.knobs,
        **{name: KNOBS[name].choices for name in ("psum_bits", "psum_group", "dataflow")},
    }

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        at = {name: values.get(name, KNOBS[name].neutral) for name in self.knobs}
        exact = at["psum_bits"] == 32 or at["dataflow"] == "os"
        if exact or 16 in (at["w_bits"], at["a_bits"]) or layer.k <= 8:
            return {}
        return {"tile": 8, "dataflow": at["dataflow"]}


class FakeCatalogue:
    evaluator_knobs: tuple[str, ...] = tuple(KNOBS)

    def workload(self, name: str, params: Mapping[str, object]) -> FakeWorkload:
        kinds = (FakeWorkload, FakeShape, FakeUntrainable)
        found: dict[str, type[FakeWorkload]] = {kind.name: kind for kind in kinds}
        if name not in found:
            raise UnknownNameError("workload", name, found)
        return found[name]()

    def platform(self, name: str, params: Mapping[str, object]) -> FakePlatform:
        kinds = (FakePlatform, TiedPlatform, RuledPlatform, SumPlatform)
        found = {kind.name: kind for kind in kinds}
        if name not in found:
            raise UnknownNameError("platform", name, found)
        return found[name]()


def spec_data(**changes: object) -> dict[str, object]:
    data: dict[str, object] = {
        "name": "test",
        "workload": {"name": "fake"},
        "platforms": [{"name": "fake-chip"}],
        "knobs": [
            {"knob": "w_bits", "choices": [2, 4, 8, 16]},
            {"knob": "a_bits", "choices": [2, 4, 8, 16]},
            {"knob": "a_bits", "layers": "out", "choices": [4, 8, 16]},
        ],
        "objectives": ["error", "speedup"],
        "constraints": [
            {"metric": "memory_mib", "max": 0.0008},
            {"metric": "error", "max_increase": 30.0},
        ],
        "reference_point": {"error": 60.0, "speedup": 1.0},
        "search": {"population": 12, "offspring": 6, "generations": 6, "seed": 3},
    }
    return {**data, **changes}


def fake_spec(**changes: object) -> JobSpec:
    return spec_from_data(spec_data(**changes))


def fake_problem(**changes: object) -> Problem:
    return check(fake_spec(**changes), FakeCatalogue())


def fake_error(choices: Choices | None) -> float:
    """Return an error that falls with every bit, unevenly by layer, and by every word."""
    if choices is None:
        return 10.0
    design, loss = Design(choices), 0.0
    for i, layer in enumerate(LAYERS):
        w_bits, a_bits = design.value("w_bits", layer), design.value("a_bits", layer)
        assert isinstance(w_bits, int)
        assert isinstance(a_bits, int)
        loss += (i + 1.3) * 2.0 ** (3 - w_bits)
        loss += (4.1 - i) * 2.0 ** (3 - a_bits)
        for knob in ("act_quantizer", "w_granularity", "a_symmetry"):
            place = KNOBS[knob].choices.index(design.value(knob, layer))
            loss -= 0.01 * place * (i + len(knob))
    return 10.0 + loss


RETRAINED: dict[str, Design] = {}
"""SHA-256 of fake weights -> the design they were retrained at."""


def evaluate(request: Request) -> dict[str, float]:
    """Return an error that beacon weights halve, but for a point for each unit of distance."""
    error = fake_error(request.choices)
    if request.weights is not None:
        assert request.choices is not None
        away = distance(
            Design(request.choices), RETRAINED[request.weights], {"w_bits": 1, "a_bits": 1}
        )
        error = 10.0 + (error - 10.0) / 2 + away
    error += SPLIT_SHIFTS[request.split]
    return {"error": error, "frame_error": error / 2}


def retrain(task: Retraining) -> Retrained:
    design = Design(task.choices)
    digest = content_hash(["weights", design.hash, task.steps, task.seed])
    RETRAINED[digest] = design
    error = fake_error(task.choices)
    curve = (
        CurvePoint(step=0, loss=None, error=error),
        CurvePoint(step=task.steps, loss=1.0, error=5.0 + error / 2),
    )
    return Retrained(digest=digest, size=1000, best_step=task.steps, curve=curve)


def fake_key(
    choices: Choices | None,
    arithmetic: Mapping[str, Mapping[str, int | str]],
    split: str,
    weights: str | None = None,
) -> str:
    told = None if choices is None else {k: dict(v) for k, v in choices.items()}
    return content_hash([told, {k: dict(v) for k, v in arithmetic.items()}, split, weights])


def fake_retraining_key(
    choices: Choices,
    arithmetic: Mapping[str, Mapping[str, int | str]],
    *,
    steps: int,
    seed: int,
    learn_exponents: bool,
) -> str:
    return content_hash(["retraining", Design(choices).hash, steps, seed, learn_exponents])


class FakeVault:
    """Holds everything, but for what is said to be lost."""

    def __init__(self) -> None:
        self.lost: set[str] = set()

    def intact(self, digest: str) -> bool:
        return digest not in self.lost


class FakePool:
    """Answers in reverse order; `outcome` may be told to misbehave."""

    capacity = 2

    def __init__(self, outcome: Callable[[Task], Outcome] | None = None) -> None:
        self.outcome = outcome or good_outcome
        self.waiting: list[Task] = []
        self.ran: list[Task] = []
        self.cancelled = False

    @property
    def requests(self) -> list[Request]:
        return [task for task in self.ran if isinstance(task, Request)]

    def warm(self) -> None:
        pass

    def submit(self, tasks: Sequence[Task]) -> None:
        self.waiting += tasks

    def poll(self, timeout_s: float) -> list[Outcome]:
        batch = [self.waiting.pop() for _ in range(min(3, len(self.waiting)))]
        self.ran += batch
        return [self.outcome(task) for task in batch]

    def reports(self) -> list[Report]:
        return []

    def cancel(self) -> None:
        self.waiting.clear()
        self.cancelled = True

    def close(self) -> None:
        self.cancel()


def good_outcome(task: Task) -> Outcome:
    if isinstance(task, Request):
        return Outcome(key=task.key, status=Status.OK, metrics=evaluate(task))
    return Outcome(key=task.key, status=Status.OK, retrained=retrain(task))
