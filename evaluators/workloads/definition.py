"""What a workload of one's own consists of: a model, data, a metric, and how it is trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

from dse.design import Value
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from evaluators.workloads.metrics import METRICS, Metric

Batch = Tensor | tuple[Tensor, ...]
"""The arguments of one forward call, batch dimension first."""

Labelled = tuple[Batch, Tensor]
"""Inputs, and what their outputs are held against: (batch, …)."""

Training = Sequence[Labelled] | Callable[[np.random.Generator], Iterable[Labelled]]
"""Batches, or what makes an epoch of them in an order drawn from the generator."""

Loss = Callable[[Any, Tensor], Tensor]
"""Of outputs (whatever the model returns, hence Any) and targets: a scalar to differentiate."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Definition:
    """A workload in Python.

    Attributes:
        model: makes the network: trained, or as `fit` takes it. Called more than once, each time
            with torch's seed at 0; it must make the same network each time.
        calibration: inputs from which the ranges of activations are taken, one forward call each;
            the network's layers are found by a forward pass of the first one's first sample.
        search: batches that designs are measured on during a search.
        test: batches that no search sees.
        metric: a name of `METRICS`, or a function of one's own; lower is better. It is weighed by
            samples, so that batches may differ in size.
        fit: trains the model in place, (model) or (model, progress); done once and cached.
        train: training batches: with them beacons can be made.
        loss: what retraining minimizes; left out: cross-entropy for top1-error and top5-error,
            the mean squared error for mse.
        learning_rate: of Adam in retraining.
        defaults: knob -> what it stands at in every layer that no knob line of a job names.

    Raises:
        SpecError: a part that is empty, of another type, or missing.
        UnknownNameError: no such metric or knob.
    """

    model: Callable[[], nn.Module]
    calibration: Sequence[Batch]
    search: Sequence[Labelled]
    test: Sequence[Labelled]
    metric: str | Metric
    fit: Callable[..., object] | None = None
    train: Training | None = None
    loss: Loss | None = None
    learning_rate: float = 1e-3
    defaults: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("model", "fit", "loss"):
            given = getattr(self, name)
            if given is not None and not callable(given):
                raise SpecError(f"{name} must be a function, got {type(given).__name__}")
        if isinstance(self.model, nn.Module):
            raise SpecError("model must be a function that makes the network, got a network")
        if isinstance(self.metric, str) and self.metric not in METRICS:
            raise UnknownNameError("metric", self.metric, METRICS)
        if not self.learning_rate > 0:
            raise SpecError(f"learning_rate must be above 0, got {self.learning_rate}")
        for number, batch in enumerate(_filled("calibration", self.calibration)):
            _check_inputs(f"calibration[{number}]", batch)
        for split in ("search", "test"):
            for number, pair in enumerate(_filled(split, getattr(self, split))):
                _check_labelled(f"{split}[{number}]", pair)
        self._check_training()
        defaults = {str(knob): _choice(knob, value) for knob, value in self.defaults.items()}
        object.__setattr__(self, "defaults", defaults)

    def _check_training(self) -> None:
        if self.train is None:
            return
        if not callable(self.train):
            for number, pair in enumerate(_filled("train", self.train)):
                _check_labelled(f"train[{number}]", pair)
        if self.loss is None and not isinstance(self.metric, str):
            raise SpecError("train with a metric of your own needs a loss, got none")


def _choice(knob: str, value: Value) -> Value:
    """Return the catalogue's own value that equals the given one, which may be an enum's."""
    if knob not in KNOBS:
        raise UnknownNameError("knob in defaults", knob, KNOBS)
    choices = KNOBS[knob].choices
    if value not in choices:
        raise SpecError(f"defaults of {knob} must be one of {list(choices)}, got {value!r}")
    return choices[choices.index(value)]


def inputs_of(batch: Batch) -> tuple[Tensor, ...]:
    """Return the arguments of a batch's forward call."""
    return batch if isinstance(batch, tuple) else (batch,)


def _filled(name: str, given: Sequence[object]) -> Sequence[object]:
    if not isinstance(given, Sequence) or not given:
        raise SpecError(f"{name} must be a sequence of at least one batch, got {given!r:.60}")
    return given


def _check_inputs(name: str, batch: object) -> int:
    inputs = batch if isinstance(batch, tuple) else (batch,)
    for tensor in inputs:
        if not isinstance(tensor, Tensor):
            raise SpecError(
                f"{name} must be a tensor or a tuple of tensors, got {type(tensor).__name__}"
            )
        if tensor.dim() == 0:
            raise SpecError(f"{name} must have the batch as its first dimension, got a scalar")
    sizes = {len(tensor) for tensor in inputs}
    if len(sizes) != 1 or sizes == {0}:
        raise SpecError(
            f"{name} must have at least one sample, as many in each tensor, got {sorted(sizes)}"
        )
    return sizes.pop()


def _check_labelled(name: str, pair: object) -> None:
    if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
        raise SpecError(f"{name} must be (inputs, targets), got {type(pair).__name__}")
    inputs, targets = pair
    if not isinstance(targets, Tensor) or targets.dim() == 0:
        raise SpecError(f"targets of {name} must be a tensor (batch, ...)")
    samples = _check_inputs(f"inputs of {name}", inputs)
    if len(targets) != samples:
        raise SpecError(f"{name} has {samples} inputs and {len(targets)} targets")
