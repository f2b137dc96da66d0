"""Clip thresholds by the mean-square-error scan of MOHAQ's public code (arXiv 2108.01192).

The scan runs on a histogram, so that one pass over a tensor serves every bit width.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.errors import SpecError
from evaluators.quantizers.uniform import check_uniform_bits

BINS = 201
CANDIDATES = 99

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    """The distribution of one tensor's values.

    Attributes:
        centres: bin centres, (BINS,), or (1,) for a constant tensor.
        shares: share of the values in each bin, same shape; they sum to 1.
        peak: largest magnitude of a value.
    """

    centres: FloatArray
    shares: FloatArray
    peak: float


def histogram(values: NDArray[np.floating]) -> Histogram:
    """Sort `values` (any shape) into BINS equal bins between their least and their greatest.

    Raises:
        SpecError: no values, or values that are not finite.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size == 0:
        raise SpecError("a range needs at least one value, got none")
    low, high = float(flat.min()), float(flat.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise SpecError(f"a range needs finite values, got {low} .. {high}")
    peak = max(-low, high)
    if (high - low) / BINS <= 2 * np.spacing(peak):
        return Histogram(centres=np.array([(low + high) / 2]), shares=np.ones(1), peak=peak)
    counts, edges = np.histogram(flat, bins=BINS, range=(low, high))
    return Histogram(
        centres=(edges[:-1] + edges[1:]) / 2, shares=counts / float(flat.size), peak=peak
    )


def mmse_costs(source: Histogram, *, bits: int) -> FloatArray:
    """Return the mean square error of each candidate threshold 0.01 j peak, j = 1..CANDIDATES.

    Bins beyond the threshold cost their distance to it, the others their distance to the
    nearest level; levels are those of `uniform_grid`.

    Returns:
        Costs in squared units of the values, shape (CANDIDATES,).
    """
    check_uniform_bits(bits)
    high = 2 ** (bits - 1) - 1
    if source.peak == 0.0:
        return np.zeros(CANDIDATES)
    thresholds = _candidates(source)[:, None]
    centres = source.centres[None, :]
    steps = thresholds / high
    levels = np.clip(np.rint(centres / steps), -high - 1, high)
    beyond = np.abs(centres) - thresholds
    errors = np.where(beyond > 0.0, beyond, centres - levels * steps)
    costs: FloatArray = errors**2 @ source.shares
    return costs


def mmse_threshold(source: Histogram, *, bits: int) -> float:
    """Return the candidate threshold of least cost, the first of equals; 0 if all is 0."""
    best = int(np.argmin(mmse_costs(source, bits=bits)))
    return float(_candidates(source)[best])


def _candidates(source: Histogram) -> FloatArray:
    return np.arange(1, CANDIDATES + 1, dtype=np.float64) * 0.01 * source.peak
