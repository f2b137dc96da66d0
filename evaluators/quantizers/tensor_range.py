"""From what was seen of a tensor to its grids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
import torch
from torch import Tensor

from dse.errors import WeightsError
from evaluators.quantizers.fixed_point import FIXED_POINT_BITS, fixed_point_grid
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.histogram import Histogram, histogram
from evaluators.quantizers.ranges import mmse_ends, mmse_threshold
from evaluators.quantizers.scheme import (
    ABSMAX,
    ASYMMETRIC,
    MMSE,
    PERCENTILE,
    SYMMETRIC,
    Rule,
)
from evaluators.quantizers.uniform import UNIFORM_BITS, asymmetric_grid, uniform_grid

RANGES_VERSION = 1
"""Raised whenever the same tensor would get another grid than before."""

Ends = tuple[float, float]

_NARROW = tuple(
    Rule(bits=bits, quantizer=quantizer, symmetry=symmetry)
    for symmetry in (SYMMETRIC, ASYMMETRIC)
    for quantizer in (MMSE, ABSMAX, PERCENTILE)
    for bits in UNIFORM_BITS
)


class Range(Protocol):
    """What gives a tensor's grid by any rule."""

    def grid(self, rule: Rule) -> Grid:
        """Return the grid for codes of `rule.bits`: 2..8 or 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenRange:
    """The range of a tensor as plain figures, which can be stored.

    Attributes:
        ends: rule (of 2..8 bits) -> least and greatest value that do not clip.
        peak: greatest magnitude seen.
    """

    ends: Mapping[Rule, Ends]
    peak: float

    def grid(self, rule: Rule) -> Grid:
        if rule.bits == FIXED_POINT_BITS:
            return fixed_point_grid(self.peak)
        if rule not in self.ends:
            raise WeightsError(
                f"stored ranges must hold {rule.symmetry} {rule.quantizer} ranges, got none: "
                "an older release wrote them; retrain"
            )
        return _grid(self.ends[rule], rule)


@final
class TensorRange:
    """What calibration saw of one tensor, and the grids that this gives.

    Attributes:
        samples: a histogram per calibration sample.
    """

    def __init__(self, samples: Sequence[Histogram]) -> None:
        self.samples = tuple(samples)
        self._grids: dict[Rule, Grid] = {}

    def grid(self, rule: Rule) -> Grid:
        """Return the grid for codes of `rule.bits`: 16 is fixed point by the greatest magnitude,
        2..8 clip at the median over the samples of what their least-error scans or percentiles
        say, or by the extremes of all samples."""
        rule = rule.effective
        if rule not in self._grids:
            self._grids[rule] = self._fit(rule)
        return self._grids[rule]

    def freeze(self) -> FrozenRange:
        """Return the ends by every rule, which give the same grids."""
        return FrozenRange(ends={rule: self._ends(rule) for rule in _NARROW}, peak=self._peak())

    def _fit(self, rule: Rule) -> Grid:
        if rule.bits == FIXED_POINT_BITS:
            return fixed_point_grid(self._peak())
        return _grid(self._ends(rule), rule)

    def _ends(self, rule: Rule) -> Ends:
        if rule.symmetry == SYMMETRIC:
            threshold = self._threshold(rule)
            return -threshold, threshold
        low = min(sample.low for sample in self.samples)
        high = max(sample.high for sample in self.samples)
        if rule.quantizer != ABSMAX:
            pairs = [_pair(sample, rule) for sample in self.samples]
            inner = [float(np.median(end)) for end in zip(*pairs, strict=True)]
            # of a tensor with few values that are not 0, a percentile leaves nothing
            if any(inner):
                low, high = inner
        return min(low, 0.0), max(high, 0.0)

    def _threshold(self, rule: Rule) -> float:
        if rule.quantizer == ABSMAX:
            return self._peak()
        if rule.quantizer == PERCENTILE:
            return float(np.median([sample.tails[0] for sample in self.samples])) or self._peak()
        return float(np.median([mmse_threshold(s, bits=rule.bits) for s in self.samples]))

    def _peak(self) -> float:
        return max(sample.peak for sample in self.samples)


def weight_range(weight: Tensor) -> TensorRange:
    """Return the range of a weight tensor, which is its own only sample."""
    return TensorRange([seen(weight)])


def channel_grid(weight: Tensor, *, bits: int) -> ChannelGrid:
    """Return the grid of a weight with a scale of its own for each output channel, the first
    dimension: each is a tensor with its own least-error threshold."""
    grids = [weight_range(channel).grid(Rule(bits=bits)) for channel in weight.detach()]
    scales = tuple(grid.scale for grid in grids)
    return ChannelGrid(scales=scales, low=grids[0].low, high=grids[0].high)


def grid_of_scales(scales: Tensor, *, bits: int) -> ChannelGrid:
    """Return the grid that `channel_grid` made, of its scales: float64 (n,)."""
    half = 2 ** (bits - 1)
    return ChannelGrid(scales=tuple(scales.tolist()), low=-half, high=half - 1)


def weight_grid(weight: Tensor, *, bits: int, by_channel: bool) -> Grid | ChannelGrid:
    """Return the symmetric grid of a weight (n, …), of the whole or of each output channel."""
    if by_channel:
        return channel_grid(weight, bits=bits)
    return weight_range(weight).grid(Rule(bits=bits))


def seen(values: Tensor) -> Histogram:
    """Return the histogram of a tensor of any shape and dtype; errors as `histogram`."""
    wide = torch.promote_types(values.dtype, torch.float32)
    return histogram(values.detach().to(wide).numpy())


def _pair(sample: Histogram, rule: Rule) -> Ends:
    if rule.quantizer == PERCENTILE:
        return float(sample.tails[1]), float(sample.tails[2])
    return mmse_ends(sample, bits=rule.bits)


def _grid(ends: Ends, rule: Rule) -> Grid:
    if rule.symmetry == SYMMETRIC:
        return uniform_grid(ends[1], bits=rule.bits)
    return asymmetric_grid(*ends, bits=rule.bits)
