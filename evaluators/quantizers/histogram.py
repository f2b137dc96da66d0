from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.errors import SpecError

BINS = 201
TAILS = 3

# Values beyond a percentile: 0.1 % of all, half of them at either end of an asymmetric range.
_BEYOND, _BEYOND_AN_END = 1000, 2000
_AT_ONCE = 2**20
_LEAST_WIDTH = float(np.finfo(np.float64).tiny)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Histogram:
    """What is kept of one tensor's values: enough for every width and way to choose a range.

    Attributes:
        low: least value.
        high: greatest value.
        counts: values in each of BINS equal bins between both: (BINS,).
        tails: least magnitude, least value and greatest value that are not beyond the
            percentiles: (TAILS,).
    """

    low: float
    high: float
    counts: IntArray
    tails: FloatArray

    @property
    def peak(self) -> float:
        """Largest magnitude of a value."""
        return max(-self.low, self.high)

    @property
    def constant(self) -> bool:
        """Whether bins would be too narrow to tell apart, or to divide by."""
        width = (self.high - self.low) / BINS
        return width <= max(2 * float(np.spacing(self.peak)), _LEAST_WIDTH)

    @property
    def centres(self) -> FloatArray:
        """Bin centres, (BINS,), or (1,) for a constant tensor."""
        if self.constant:
            return np.array([(self.low + self.high) / 2])
        edges = np.histogram_bin_edges(np.empty(0), bins=BINS, range=(self.low, self.high))
        centres: FloatArray = (edges[:-1] + edges[1:]) / 2
        return centres

    @property
    def shares(self) -> FloatArray:
        """Share of the values in each bin, shape as `centres`; they sum to 1."""
        if self.constant:
            return np.ones(1)
        shares: FloatArray = self.counts / float(self.counts.sum())
        return shares


def histogram(values: NDArray[np.floating]) -> Histogram:
    """Sort `values` (any shape) into BINS equal bins between their least and their greatest.

    Raises:
        SpecError: no values, or values that are not finite.
    """
    flat = np.ravel(values)
    if flat.size == 0:
        raise SpecError("a range needs at least one value, got none")
    low, high = float(flat.min()), float(flat.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise SpecError(f"a range needs finite values, got {low} .. {high}")
    tails = _tails(flat)
    empty = np.zeros(BINS, dtype=np.int64)
    found = Histogram(low=low, high=high, counts=empty, tails=tails)
    if found.constant:
        return found
    # Piece by piece: the whole tensor in float64 would be the largest thing in memory.
    for at in range(0, flat.size, _AT_ONCE):
        piece = flat[at : at + _AT_ONCE].astype(np.float64)
        empty += np.histogram(piece, bins=BINS, range=(low, high))[0]
    return found


def _tails(flat: NDArray[np.floating]) -> FloatArray:
    size = flat.size
    magnitude = size - 1 - size // _BEYOND
    beyond = size // _BEYOND_AN_END
    by_magnitude = np.partition(np.abs(flat), magnitude)
    by_value = np.partition(flat, (beyond, size - 1 - beyond))
    tails = by_magnitude[magnitude], by_value[beyond], by_value[size - 1 - beyond]
    return np.array(tails, dtype=np.float64)
