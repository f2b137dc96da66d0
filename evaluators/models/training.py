"""Training, and the chunks of utterances and the loss that frame taggers are trained with."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dse.errors import SpecError
from dse.ports import Progress
from evaluators.models.adam import Adam
from evaluators.models.sru import Dropout
from evaluators.network import Batch

Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]
"""Of a model on a batch, a differentiable scalar; the generator draws the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How to train.

    Attributes:
        steps: batches.
        learning_rate: of Adam, after a linear warm-up; falls to `last_rate` times it.
        betas: of Adam: how slowly it forgets gradients and their squares.
        warmup: steps; at most a quarter of all.
        fall: along which curve the learning rate falls.
        clip: largest norm of the gradient.
    """

    steps: int
    learning_rate: float = 4e-3
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 50
    last_rate: float = 0.02
    fall: Literal["linear", "cosine"] = "linear"
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, 0-based."""
        warmup = min(self.warmup, max(1, self.steps // 4))
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        left = (self.steps - step) / max(1, self.steps - warmup)
        if self.fall == "cosine":
            left = (1 - math.cos(math.pi * left)) / 2
        return self.learning_rate * (self.last_rate + (1 - self.last_rate) * left)


class Chunks:
    """Pieces of equal length cut from utterances.

    An epoch cuts each utterance into consecutive chunks from a random offset on; what is left
    over at its ends is out for that epoch.

    Args:
        utterances: features (frames, inputs) with labels (frames,).
        length: frames of a chunk.
        size: chunks of a batch; fewer if the utterances yield fewer.

    Raises:
        SpecError: no utterance is long enough.
    """

    def __init__(
        self, utterances: Sequence[tuple[Tensor, Tensor]], *, length: int = 50, size: int = 64
    ) -> None:
        frames = np.array([len(labels) for _, labels in utterances], dtype=np.int64)
        self._counts = frames // length
        if not self._counts.sum():
            raise SpecError(f"training needs an utterance of at least {length} frames, got none")
        self._spare = frames % length
        self._first = np.cumsum(frames) - frames
        self._features = torch.cat([features for features, _ in utterances])
        self._labels = torch.cat([labels for _, labels in utterances])
        self._length = length
        self._size = min(size, int(self._counts.sum()))

    def batches(self, random: np.random.Generator) -> Iterator[Batch]:
        """Yield features (size, length, inputs) and labels (size, length), without end."""
        while True:
            starts = self._starts(random)
            for at in range(0, len(starts) - self._size + 1, self._size):
                rows = starts[at : at + self._size, None] + np.arange(self._length)
                index = torch.from_numpy(rows)
                yield self._features[index], self._labels[index]

    def _starts(self, random: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        offsets = self._first + random.integers(self._spare + 1)
        number = np.arange(self._counts.sum()) - np.repeat(
            np.cumsum(self._counts) - self._counts, self._counts
        )
        starts = np.repeat(offsets, self._counts) + number * self._length
        return random.permutation(starts)


def train(
    model: nn.Module,
    batches: Iterator[Batch],
    course: Course,
    *,
    loss: Loss,
    generator: torch.Generator,
    progress: Progress,
    label: str = "training",
) -> None:
    """Train a model in place with Adam; the same inputs give the same weights, provided that
    torch runs on the same number of threads (`one_thread`).

    Args:
        generator: draws the noise of the loss.
    """
    adam = Adam(model.parameters(), betas=course.betas)
    for step in range(course.steps):
        batch = next(batches)
        adam.clear()
        torch.autograd.backward(loss(model, batch, generator))
        nn.utils.clip_grad_norm_(model.parameters(), course.clip)
        adam.step(course.rate(step))
        progress(label, step + 1, course.steps)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread for a while: sums come out in another order on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameLoss:
    """The mean cross-entropy of a batch: features (batch, time, inputs), labels (batch, time).

    The model takes features and a `Dropout` and returns scores (batch, time, classes).

    Attributes:
        smoothing: share of a frame's target spread over all classes.
    """

    dropout: float = 0.1
    smoothing: float = 0.1

    def __call__(self, model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        features, labels = batch
        scores = model(features, Dropout(rate=self.dropout, generator=generator))
        return cross_entropy(
            scores.flatten(0, 1), labels.flatten(), label_smoothing=self.smoothing
        )
