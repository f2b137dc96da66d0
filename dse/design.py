"""Values that every room speaks of: layers, network shapes, designs, evaluations."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One matrix product in GEMM form: (m x k) times (k x n), `groups` times over.

    Attributes:
        name: the workload's own name, or a module path.
        m: rows of the activation matrix for one inference (1 for one speech frame).
        k: reduction length of one group.
        n: output columns of one group.
        groups: independent products of that size (grouped convolution).
        kernel: kernel side in elements; 1 for a linear layer.
        stride: kernel step in elements.
        window: elements of the kernel over one input channel; kernel**2 if left out.
        input_elements: distinct input elements of one inference; m * k * groups if left out.
        consumers: names of the layers that read this layer's output.
        dynamic: the second operand is an activation too, as in attention: nothing is stored.
            Then `w_bits` is the width of the second operand, `a_bits` that of the first.
    """

    name: str
    k: int
    n: int
    m: int = 1
    groups: int = 1
    kernel: int = 1
    stride: int = 1
    window: int | None = None
    input_elements: int | None = None
    consumers: tuple[str, ...] = ()
    dynamic: bool = False

    @property
    def depthwise(self) -> bool:
        """Whether it is a convolution each group of which reads one channel."""
        window = self.kernel**2 if self.window is None else self.window
        return self.groups > 1 and self.k <= window

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return self.m * self.k * self.n * self.groups

    @property
    def weights(self) -> int:
        """Weight elements; none where both operands are activations."""
        return 0 if self.dynamic else self.k * self.n * self.groups


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkShape:
    """All that a cost model may know of a network.

    Attributes:
        layers: the quantizable products, in order of execution.
        vector_parameters: biases and the like, stored at 16 bits.
        elementwise_operations: operations of one inference outside the products.
    """

    layers: tuple[Layer, ...]
    vector_parameters: int = 0
    elementwise_operations: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(layer.name for layer in self.layers)

    @property
    def dynamic(self) -> frozenset[str]:
        """Names of the layers whose second operand is an activation."""
        return frozenset(layer.name for layer in self.layers if layer.dynamic)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        return sum(layer.weights for layer in self.layers)


Value = int | str
"""What a knob stands at: a number, or a word for one that has no measure."""

Choices = Mapping[str, Mapping[str, Value]]
"""knob -> layer -> value."""


@dataclass(frozen=True)
class Design:
    """One value for every knob at every layer.

    Attributes:
        choices: knob -> layer -> value; knobs that are absent stand at their neutral value.
    """

    choices: Choices

    def __post_init__(self) -> None:
        frozen = {knob: MappingProxyType(dict(v)) for knob, v in self.choices.items()}
        object.__setattr__(self, "choices", MappingProxyType(frozen))

    def value(self, knob: str, layer: str) -> Value:
        from dse.knobs import KNOBS

        return self.choices.get(knob, {}).get(layer, KNOBS[knob].neutral)

    def to_json(self) -> dict[str, dict[str, Value]]:
        return {knob: dict(values) for knob, values in self.choices.items()}

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over the values that differ from neutral, so that a design keeps its
        hash when the catalogue of knobs grows."""
        from dse.knobs import KNOBS

        told = {
            knob: {layer: v for layer, v in values.items() if v != KNOBS[knob].neutral}
            for knob, values in self.choices.items()
        }
        return content_hash({knob: values for knob, values in told.items() if values})

    def __reduce__(self) -> tuple[type["Design"], tuple[dict[str, dict[str, Value]]]]:
        return Design, (self.to_json(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """A design whose network was retrained, so that its neighbours can be judged on the weights.

    Attributes:
        number: 1, 2, … within its job, in order of creation.
        generation: at whose end it was made.
        key: content key of the retraining.
        digest: SHA-256 (hex) of its weights; None if there are none to use.
        reason: why there are none: the retraining failed, or the file was lost.
    """

    number: int
    design: Design
    generation: int
    key: str
    digest: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BeaconReading:
    """What a design's network did on the weights of a beacon near it.

    Attributes:
        number: the beacon's.
        distance: between the two designs.
        error: %, on the search split.
    """

    number: int
    distance: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A design with what was found of it.

    Attributes:
        metrics: costs always; the workload's metrics once its network has run.
        feasible: every constraint holds and the network could be measured.
        violation: sum of normalised constraint violations; 0 when feasible.
        origin: whose weights the metrics came from: "base" or "beacon N"; None if the network
            was not run.
        base_error: on the base weights, %.
        beacon: the best reading on beacon weights, better than the base or not; None if the
            design was run on no beacon.
        reason: why the network was not run, or why it could not be measured.
        generation, position: where in its job it was proposed.
        key: content key of the measurement.
        label: name of a baseline, such as "uniform w4a4".
    """

    design: Design
    metrics: Mapping[str, float]
    feasible: bool
    violation: float = 0.0
    origin: str | None = None
    base_error: float | None = None
    beacon: BeaconReading | None = None
    reason: str | None = None
    generation: int = 0
    position: int = 0
    key: str | None = None
    label: str | None = None

    @property
    def measured(self) -> bool:
        return self.origin is not None


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no blanks; NaN and infinity are refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(value: object) -> str:
    """SHA-256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()
