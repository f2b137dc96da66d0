"""Hand-written stand-ins for the ports: small, honest, in memory."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dse.beacons import distance
from dse.catalogue import check
from dse.design import (
    Beacon,
    Choices,
    Design,
    Evaluation,
    Layer,
    NetworkShape,
    Value,
    content_hash,
)
from dse.errors import DriftError, UnknownNameError
from dse.knobs import BITS, KNOBS
from dse.ports import FloatArray, Foundation, GenerationRecord, IntArray, Proposal, Role
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


class MemoryStore:
    """A RunStore in dictionaries. Give it to a second search to resume the first."""

    def __init__(self) -> None:
        self.laid: Foundation | None = None
        self.extra: dict[str, float] = {}
        self.records: list[GenerationRecord] = []
        self.proposals: dict[tuple[Role, int], list[Proposal]] = {}
        self.concluded: dict[tuple[Role, int], list[Evaluation]] = {}
        self.measured: dict[str, dict[str, float]] = {}
        self.refused: dict[str, str] = {}
        self.test: dict[tuple[Role, str], Mapping[str, float]] = {}
        self.notes: list[str] = []
        self.retrained: dict[str, Retrained] = {}
        self.made: list[Beacon] = []
        self.stop = False
        self.in_flight: dict[str, bool] = {}
        self.deaths: dict[str, int] = {}

    def foundation(self) -> Foundation | None:
        return self.laid

    def lay_foundation(self, foundation: Foundation) -> None:
        self.laid = foundation

    def add_float_metrics(self, metrics: Mapping[str, float]) -> None:
        self.extra |= metrics

    def last_generation(self) -> GenerationRecord | None:
        return self.records[-1] if self.records else None

    def states(self) -> list[Mapping[str, object]]:
        return [record.state for record in self.records]

    def genomes(self) -> IntArray:
        rows = [
            p.genome
            for g in range(len(self.records))
            for p in self.proposals[Role.SEARCH, g]
            if p.genome is not None
        ]
        return np.asarray(rows, dtype=np.int64)

    def front(self) -> list[Evaluation]:
        return self.evaluations(self.records[-1].front) if self.records else []

    def evaluations(self, hashes: Iterable[str]) -> list[Evaluation]:
        known = {
            e.design.hash: e
            for (role, generation), rows in self.concluded.items()
            if role is Role.SEARCH and generation < len(self.records)
            for e in rows
        }
        return [known[design_hash] for design_hash in hashes if design_hash in known]

    def evaluations_since(self, generation: int) -> list[Evaluation]:
        return [
            e
            for number in range(generation, len(self.records))
            for e in self.concluded[Role.SEARCH, number]
        ]

    def propose(self, role: Role, generation: int, proposals: Sequence[Proposal]) -> None:
        stored = self.proposals.setdefault((role, generation), list(proposals))
        if [p.design.hash for p in stored] != [p.design.hash for p in proposals]:
            raise DriftError("other designs are stored")
        if [p.key for p in stored] != [p.key for p in proposals]:
            raise DriftError.other_network(f"{role} generation {generation}")

    def recall(self, keys: Iterable[str]) -> dict[str, dict[str, float]]:
        return {key: self.measured[key] for key in keys if key in self.measured}

    def verdicts(self, keys: Iterable[str]) -> dict[str, str]:
        return {key: self.refused[key] for key in keys if key in self.refused}

    def dispatched(self, keys: Iterable[str], *, alone: bool = False) -> None:
        self.in_flight |= dict.fromkeys(keys, alone)

    def suspects(self) -> set[str]:
        """Take every call for that of a driver whose predecessor died."""
        for key, alone in list(self.in_flight.items()):
            self.in_flight[key] = False
            self.died(key, alone=alone)
        return set(self.in_flight)

    def died(self, key: str, *, alone: bool) -> int:
        self.deaths[key] = self.deaths.get(key, 0) + alone
        if self.deaths[key] >= 3:
            self.refused[key] = "POISONED: its process died 3 times while it ran alone"
            self.in_flight.pop(key, None)
        return self.deaths[key]

    def record(self, outcome: Outcome, *, split: str, choices: Choices | None) -> None:
        self.in_flight.pop(outcome.key, None)
        self.deaths.pop(outcome.key, None)
        if outcome.metrics is None:
            self.refused[outcome.key] = f"{outcome.status}: {outcome.reason}"
            return
        assert outcome.key not in self.measured, "no network is run twice"
        self.measured[outcome.key] = dict(outcome.metrics)

    def conclude(self, role: Role, evaluations: Sequence[Evaluation]) -> None:
        self.concluded[role, evaluations[0].generation] = list(evaluations)

    def recall_retrainings(self, keys: Iterable[str]) -> dict[str, Retrained]:
        return {key: self.retrained[key] for key in keys if key in self.retrained}

    def record_retraining(self, outcome: Outcome, task: Retraining) -> None:
        self.in_flight.pop(outcome.key, None)
        self.deaths.pop(outcome.key, None)
        if outcome.retrained is None:
            self.refused[outcome.key] = f"{outcome.status}: {outcome.reason}"
        else:
            self.retrained[outcome.key] = outcome.retrained

    def beacons(self) -> list[Beacon]:
        return list(self.made)

    def lose_beacon(self, number: int, reason: str) -> None:
        self.made[number - 1] = replace(self.made[number - 1], digest=None, reason=reason)
        self.note("beacon.lost", {"number": number, "reason": reason})

    def finish_generation(
        self,
        record: GenerationRecord,
        evaluations: Sequence[Evaluation],
        *,
        revised: Sequence[Evaluation] = (),
        beacons: Sequence[Beacon] = (),
    ) -> None:
        assert record.number == len(self.records)
        self.conclude(Role.SEARCH, evaluations)
        for evaluation in revised:
            row = self.concluded[Role.SEARCH, evaluation.generation]
            row[evaluation.position] = evaluation
        self.made += beacons
        self.records.append(record)

    def add_test_metrics(self, role: Role, metrics: Mapping[str, Mapping[str, float]]) -> None:
        self.test |= {(role, h): m for h, m in metrics.items()}

    def note(self, kind: str, data: Mapping[str, object]) -> None:
        self.notes.append(kind)

    def stop_requested(self) -> bool:
        return self.stop

    def results(self) -> object:
        """Return everything that must not depend on how the run went."""
        records = [
            replace(r, counts={k: v for k, v in r.counts.items() if k != "cached"})
            for r in self.records
        ]
        return (records, self.concluded, self.laid, self.extra, self.test, self.made)
