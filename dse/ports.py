"""What the search needs of the other rooms, as protocols. No implementation lives here."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dse.design import Beacon, Choices, Design, Evaluation, Layer, NetworkShape, Value
from dse.tasks import Outcome, Report, Retrained, Retraining, Task

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


class Progress(Protocol):
    """Told how far a long piece of work is; called often, must be cheap."""

    def __call__(self, label: str, done: int, total: int) -> None: ...


def silent(label: str, done: int, total: int) -> None:
    """Be the progress nobody watches."""


class Workload(Protocol):
    """A network with its data, or a network's shape alone.

    Attributes:
        name: registry name.
        params: the parameters it was made with, defaults included: plain JSON data.
        shape: available at once, without data or training.
        metrics: names it measures, "error" first; empty for a shape-only workload.
        splits: "search", whose error a search sees, "test", and what else it is measured on.
        trainable: it has training data, so that beacons can be made.
        needs: what the user must provide before it can be run here; None: nothing.
        defaults: knob -> what it stands at in every layer that no knob line names; knobs left
            out: their neutral value.
    """

    @property
    def name(self) -> str: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def shape(self) -> NetworkShape: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...
    @property
    def splits(self) -> tuple[str, ...]: ...
    @property
    def trainable(self) -> bool: ...
    @property
    def needs(self) -> str | None: ...
    @property
    def defaults(self) -> Mapping[str, Value]: ...


class Platform(Protocol):
    """An accelerator: the knobs it honours, its arithmetic and its cost model.

    Attributes:
        name: registry name.
        params: the parameters it was made with, defaults included.
        knobs: knob -> the values it takes, in the catalogue's order.
        tied: groups of knobs that must be equal at each layer, e.g. (("w_bits", "a_bits"),).
        metrics: names that `cost` yields.
        constants: every figure of the cost model: name, value, unit, source.
    """

    @property
    def name(self) -> str: ...
    @property
    def params(self) -> Mapping[str, object]: ...
    @property
    def knobs(self) -> Mapping[str, tuple[Value, ...]]: ...
    @property
    def tied(self) -> tuple[tuple[str, ...], ...]: ...
    @property
    def metrics(self) -> tuple[str, ...]: ...

    @property
    def constants(self) -> list[dict[str, float | str]]: ...

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        """Say what the error evaluator must obey at `layer`, whose knobs stand at `values`
        (knob -> value); empty: plain integer products with wide accumulators."""

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Cost many designs at once.

        Args:
            choices: knob -> indices (n_designs, n_layers) into `KNOBS[knob].choices`.

        Returns:
            metric -> float64 (n_designs,).
        """

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        """Return one record a layer (key "layer" = its name; the rest are figures), then one
        with layer "(other)" for what belongs to no layer; the parts make up `cost`."""


@runtime_checkable
class Bounded(Protocol):
    """A platform whose buffers may be too small for a layer at some choices."""

    def refuse(
        self, shape: NetworkShape, allowed: Mapping[tuple[str, str], tuple[Value, ...]]
    ) -> None:
        """Refuse what a space offers and the platform cannot hold, before a search begins.

        Args:
            allowed: (knob, layer) -> the values it may take.

        Raises:
            SpecError: naming a layer, its choice and what would be held.
        """


class Pool(Protocol):
    """Where evaluations run. It decides no retry and knows no database.

    Outcomes come in any order; whoever asks sorts them.
    """

    @property
    def capacity(self) -> int:
        """Tasks that it works on at the same time."""

    def warm(self) -> None:
        """Wait until a task that is submitted would run at once."""

    def submit(self, tasks: Sequence[Task]) -> None: ...

    def poll(self, timeout_s: float) -> list[Outcome]:
        """Return what has finished, waiting at most `timeout_s` for the first."""

    def reports(self) -> list[Report]:
        """Return the latest that each task in flight has told of itself since the last call."""

    def cancel(self) -> None:
        """Drop everything submitted and not yet returned by `poll`."""

    def close(self) -> None:
        """End every process that the pool started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRecord:
    """All that ends a generation, stored in one transaction.

    Attributes:
        number: 0, 1, ….
        state: the optimizer's state after `tell`: JSON data.
        hypervolume: of the front, with the job's reference point.
        front: hashes of the front's designs, in stable order.
        counts: designs; of those measured, screened by cost and failed; and cached: how many
            of the measured ones the store could answer, which alone depends on the past.
    """

    number: int
    state: Mapping[str, object]
    hypervolume: float
    front: tuple[str, ...]
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A design with its costs, as it is stored before its network may run."""

    design: Design
    genome: tuple[int, ...] | None
    costs: Mapping[str, float]
    violation: float
    key: str
    label: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What is fixed before generation 0.

    Attributes:
        float_metrics: the unquantized network on the search split.
        reference_point: objective -> value, for hypervolumes.
    """

    float_metrics: Mapping[str, float]
    reference_point: Mapping[str, float]


class Vault(Protocol):
    """Where beacon weights lie."""

    def intact(self, digest: str) -> bool:
        """Tell whether the weights with this SHA-256 are there, unaltered."""


class Role(StrEnum):
    """On whose behalf a design is evaluated."""

    SEARCH = "search"
    BASELINE = "baseline"
    PROBE = "probe"


class RunStore(Protocol):
    """One job's rows, open to the one driver that holds the job.

    Every writing method is one transaction and raises FencedOutError when the job is no longer
    this driver's.
    """

    def foundation(self) -> Foundation | None: ...

    def lay_foundation(self, foundation: Foundation) -> None:
        """Store the foundation.

        Raises:
            DriftError: another one is stored already.
        """

    def add_float_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add figures of the unquantized network to the foundation; repeatable."""

    def last_generation(self) -> GenerationRecord | None: ...

    def states(self) -> list[Mapping[str, object]]:
        """Return the optimizer's state after each finished generation, in order."""

    def genomes(self) -> IntArray:
        """Return every genome the search proposed in finished generations, in order of
        (generation, position): (n, n_genes)."""

    def front(self) -> list[Evaluation]:
        """Return the front as the last finished generation left it, in stable order, each with
        its metrics, generation and position."""

    def propose(self, role: Role, generation: int, proposals: Sequence[Proposal]) -> None:
        """Store designs before anything is measured.

        Raises:
            DriftError: other designs are already stored for this role and generation, or the
                same ones under other evaluation keys.
        """

    def recall(self, keys: Iterable[str]) -> dict[str, dict[str, float]]:
        """Return the stored measurements among `keys`."""

    def verdicts(self, keys: Iterable[str]) -> dict[str, str]:
        """Return this job's standing verdicts (reason) on designs that could not be measured."""

    def dispatched(self, keys: Iterable[str], *, alone: bool = False) -> None:
        """Mark evaluations as in flight, before they run; an outcome's `record` ends that.

        Args:
            alone: nothing else runs beside it, so that a death is its own.
        """

    def suspects(self) -> set[str]:
        """Return the keys that were in flight when an earlier driver died: run them alone.

        A driver that died while one ran alone counts as that one's death.
        """

    def died(self, key: str, *, alone: bool) -> int:
        """Note that the process of an evaluation died; return how often it did so alone.

        The third time a verdict POISONED is stored, which `verdicts` then returns.
        """

    def record(self, outcome: Outcome, *, split: str, choices: Choices | None) -> None:
        """Store one outcome: a measurement for all jobs, or a verdict for this one."""

    def recall_retrainings(self, keys: Iterable[str]) -> dict[str, Retrained]:
        """Return the stored retrainings among `keys`."""

    def record_retraining(self, outcome: Outcome, task: Retraining) -> None:
        """Store what became of a retraining: weights for all jobs, or a verdict for this one.
        Weights replace those that are stored under the same key."""

    def beacons(self) -> list[Beacon]:
        """Return the beacons as the last finished generation left them, by number."""

    def lose_beacon(self, number: int, reason: str) -> None:
        """Note for good that a beacon's weights cannot be used any more, with an event."""

    def evaluations(self, hashes: Iterable[str]) -> list[Evaluation]:
        """Return what finished generations of the search found of these designs, in the order
        of `hashes`."""

    def evaluations_since(self, generation: int) -> list[Evaluation]:
        """Return what finished generations of the search, from this one on, found of their
        designs, by (generation, position)."""

    def conclude(self, role: Role, evaluations: Sequence[Evaluation]) -> None:
        """Fill in the metrics and feasibility of proposed designs of one generation."""

    def finish_generation(
        self,
        record: GenerationRecord,
        evaluations: Sequence[Evaluation],
        *,
        revised: Sequence[Evaluation] = (),
        beacons: Sequence[Beacon] = (),
    ) -> None:
        """Conclude the generation's designs and store its record, front and event at once.

        Args:
            revised: designs of earlier generations that a new beacon judges better.
            beacons: made in this generation, those that failed too.
        """

    def add_test_metrics(self, role: Role, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Add `test_…` metrics to designs, by hash."""

    def note(self, kind: str, data: Mapping[str, object]) -> None:
        """Append an event."""

    def stop_requested(self) -> bool: ...


class EvaluationKey(Protocol):
    """Names a measurement by its content: equal keys, equal results."""

    def __call__(
        self,
        choices: Choices | None,
        arithmetic: Mapping[str, Mapping[str, int | str]],
        split: str,
        weights: str | None = None,
    ) -> str: ...


class RetrainingKey(Protocol):
    """Names a retraining by its content."""

    def __call__(
        self,
        choices: Choices,
        arithmetic: Mapping[str, Mapping[str, int | str]],
        *,
        steps: int,
        seed: int,
        learn_exponents: bool,
    ) -> str: ...
