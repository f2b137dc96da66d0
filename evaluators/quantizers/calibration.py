from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.quantizers.fixed_point import FIXED_POINT_BITS, fixed_point_grid
from evaluators.quantizers.grid import Grid
from evaluators.quantizers.ranges import Histogram, histogram, mmse_threshold
from evaluators.quantizers.uniform import UNIFORM_BITS, uniform_grid


class Range(Protocol):
    """What gives a tensor's grid at any width."""

    def grid(self, bits: int) -> Grid:
        """Return the grid for `bits` wide codes: 2..8 or 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRange:
    """The range of a tensor as plain figures, which can be stored.

    Attributes:
        thresholds: bits (2..8) -> magnitude that clips.
        peak: greatest magnitude seen.
    """

    thresholds: Mapping[int, float]
    peak: float

    def grid(self, bits: int) -> Grid:
        if bits == FIXED_POINT_BITS:
            return fixed_point_grid(self.peak)
        return uniform_grid(self.thresholds[bits], bits=bits)


@final
class TensorRange:
    """What calibration saw of one tensor, and the grids that this gives.

    Attributes:
        samples: a histogram per calibration sample.
    """

    def __init__(self, samples: Sequence[Histogram]) -> None:
        self.samples = tuple(samples)
        self._grids: dict[int, Grid] = {}

    def grid(self, bits: int) -> Grid:
        """Return the grid for `bits` wide codes: 2..8 clip at the median over the samples of
        their least-error thresholds, 16 is fixed point by the greatest magnitude."""
        if bits not in self._grids:
            self._grids[bits] = self._fit(bits)
        return self._grids[bits]

    def freeze(self) -> FrozenRange:
        """Return the thresholds of every width, which gives the same grids."""
        return FrozenRange(
            thresholds={bits: self._threshold(bits) for bits in UNIFORM_BITS}, peak=self._peak()
        )

    def _fit(self, bits: int) -> Grid:
        if bits == FIXED_POINT_BITS:
            return fixed_point_grid(self._peak())
        return uniform_grid(self._threshold(bits), bits=bits)

    def _threshold(self, bits: int) -> float:
        return float(np.median([mmse_threshold(sample, bits=bits) for sample in self.samples]))

    def _peak(self) -> float:
        return max(sample.peak for sample in self.samples)


def weight_range(weight: Tensor) -> TensorRange:
    """Return the range of a weight tensor, which is its own only sample."""
    return TensorRange([histogram(weight.detach().numpy())])


def input_ranges(
    model: nn.Module, layers: Iterable[str], samples: Sequence[tuple[Tensor, ...]]
) -> dict[str, TensorRange]:
    """Run `model` once per sample and return the range of every named layer's input.

    Raises:
        EvaluationError: no samples, a layer that a sample does not reach, or inputs that are
            not finite.
    """
    if not samples:
        raise EvaluationError("calibration needs at least one sample, got none")
    seen: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    found: dict[str, list[Histogram]] = {layer: [] for layer in seen}
    handles = [
        model.get_submodule(layer).register_forward_pre_hook(_recorder(inputs))
        for layer, inputs in seen.items()
    ]
    try:
        for sample in samples:
            with torch.no_grad():
                model(*sample)
            for layer, one in _histograms(seen).items():
                found[layer].append(one)
    finally:
        for handle in handles:
            handle.remove()
    return {layer: TensorRange(histograms) for layer, histograms in found.items()}


def _recorder(inputs: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def record(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0].detach().flatten())

    return record


def _histograms(seen: Mapping[str, list[Tensor]]) -> dict[str, Histogram]:
    found = {}
    for layer, inputs in seen.items():
        if not inputs:
            raise EvaluationError(f"layer {layer!r} was not run on a calibration sample")
        try:
            found[layer] = histogram(torch.cat(inputs).numpy())
        except ValueError as error:
            raise EvaluationError(f"input of layer {layer!r}: {error}") from error
        inputs.clear()
    return found
