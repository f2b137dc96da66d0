"""Batches of pictures to train on."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from evaluators.network import Batch


def floats(pixels: Tensor) -> Tensor:
    """Return pictures, uint8 (n, height, width), as a network takes them: float32 (n, 1, height,
    width), 0 to 1."""
    return pixels.unsqueeze(1).float() / 255


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shuffled:
    """Pictures in random order, each at a random place.

    Attributes:
        pixels: uint8 (n, height, width).
        labels: integers (n,); (n, height, width) where nothing is shifted.
        size: pictures of a batch; all of them if there are fewer.
        shift: pixels up or down, left or right, by which a picture moves at most.
    """

    pixels: Tensor
    labels: Tensor
    size: int
    shift: int = 0

    def batches(self, random: np.random.Generator) -> Iterator[Batch]:
        """Yield pictures, as `floats` has them, and labels, int64, without end; what is left over
        of an epoch is out."""
        size = min(self.size, len(self.pixels))
        while True:
            order = torch.from_numpy(random.permutation(len(self.pixels)))
            for index in torch.split(order[: len(order) // size * size], size):
                pixels = self._shifted(self.pixels[index], random)
                yield floats(pixels), self.labels[index].long()

    def _shifted(self, pixels: Tensor, random: np.random.Generator) -> Tensor:
        if not self.shift:
            return pixels
        count, height, width = pixels.shape
        padded = pad(pixels, (self.shift,) * 4)
        offsets = torch.from_numpy(random.integers(2 * self.shift + 1, size=(2, count, 1)))
        rows = offsets[0] + torch.arange(height)
        columns = offsets[1] + torch.arange(width)
        picture = torch.arange(count)[:, None, None]
        return padded[picture, rows[:, :, None], columns[:, None, :]]


def class_loss(model: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    """Return the mean cross-entropy of scores (batch, classes, …) and labels (batch, …)."""
    pictures, labels = batch
    return cross_entropy(model(pictures), labels)
