"""What a pool is asked to do, and what becomes of it: plain data that crosses processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dse.design import Choices


class Status(StrEnum):
    """How the attempt to measure a design ended."""

    OK = "OK"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    OOM = "OOM"
    LOST = "LOST"
    POISONED = "POISONED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A design to be measured: plain data that can cross processes.

    Attributes:
        key: content key of the evaluation.
        choices: the design; None measures the float network.
        arithmetic: layer -> what `Platform.arithmetic` said of it.
        split: "search" or "test".
        timeout_s: seconds after which the pool gives up.
        weights: SHA-256 (hex) of the beacon weights to run on; None: the base weights.
    """

    key: str
    choices: Choices | None
    arithmetic: Mapping[str, Mapping[str, int | str]]
    split: str
    timeout_s: float
    weights: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """A design at which the network is to be retrained: plain data that can cross processes.

    Attributes:
        key: content key: equal keys, equal weights (on one kind of processor).
        choices: the design.
        arithmetic: layer -> what `Platform.arithmetic` said of it.
        steps: batches.
        seed: of the order of batches and of all noise.
        timeout_s: seconds after which the pool gives up.
        learn_exponents: exponents of partial sums are learned with the weights.
    """

    key: str
    choices: Choices
    arithmetic: Mapping[str, Mapping[str, int | str]]
    steps: int
    seed: int
    timeout_s: float
    learn_exponents: bool = False


Task = Request | Retraining
"""What a pool takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """How far a retraining was at one of its looks at the search split.

    Attributes:
        step: batches done.
        loss: mean over the batches since the look before; None at step 0.
        error: of the design on the search split, %.
    """

    step: int
    loss: float | None
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """Weights that a retraining left in the vault.

    Attributes:
        digest: SHA-256 (hex) of the file, which is its name there.
        size: bytes.
        best_step: the step whose weights these are: least error on the search split.
        curve: in order of steps.
    """

    digest: str
    size: int
    best_step: int
    curve: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How far a task in flight is."""

    key: str
    label: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a task. With OK `metrics` of a request or `retrained` of a retraining,
    without it `reason`."""

    key: str
    status: Status
    metrics: Mapping[str, float] | None = None
    retrained: Retrained | None = None
    reason: str | None = None
    seconds: float = 0.0

    @property
    def verdict(self) -> str:
        """Say why there are no metrics: the text that is stored and shown."""
        return f"{self.status}: {self.reason or 'no reason given'}"
