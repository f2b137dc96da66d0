"""What a workload that can be run offers to those who measure and retrain it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dse.ports import Progress, Workload

Batch = tuple[Tensor, ...]


class Network(Workload, Protocol):
    """A workload with a trained network and data.

    Its products are `nn.Linear`, `nn.Conv1d`, `nn.Conv2d` and `MatMul` modules (of
    `evaluators.arithmetic.matmul`), reachable as `model.get_submodule(layer.name)` for every layer
    of `shape`; those of two activations are `dynamic` there.

    Attributes:
        digest: SHA-256 (hex) over data and trained weights; known once `prepare` has returned.
    """

    @property
    def digest(self) -> str: ...

    def prepare(self, progress: Progress) -> None:
        """Make data and train, or load both from the cache. Safe to repeat."""

    def model(self) -> nn.Module:
        """Return a fresh copy of the trained float network, in evaluation mode."""

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        """Return the arguments of one forward call per calibration sample."""

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Run `model` on a split ("search", "test", …) and return every metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """What retraining a network takes.

    Attributes:
        batches: given a generator, yields training batches without end.
        loss: of a model on a batch, differentiable, a scalar; the generator draws what noise the
            forward pass wants (dropout). The model is the network's own with its products swapped.
        learning_rate: of Adam, after a linear warm-up; falls linearly to `last_rate` times it.
        warmup: steps; at most a quarter of all.
        clip: largest norm of the gradient.
        refit_weights: steps between two fits of the weights' thresholds.
        refit_inputs: steps between two fits of the activations' thresholds.
        look: steps between two looks at the search split.
    """

    batches: Callable[[np.random.Generator], Iterator[Batch]]
    loss: Callable[[nn.Module, Batch, torch.Generator], Tensor]
    learning_rate: float
    warmup: int = 10
    last_rate: float = 0.02
    clip: float = 1.0
    refit_weights: int = 10
    refit_inputs: int = 50
    look: int = 50


class Trainable(Network, Protocol):
    """A network with training data: `trainable` is True."""

    def lessons(self, progress: Progress) -> Lessons:
        """Load the training data. Needs `prepare`."""
