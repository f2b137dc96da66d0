"""Ranges of least mean square error: the scan of MOHAQ's public code (arXiv 2108.01192), and its
like with two ends.

The scans run on a histogram, so that one pass over a tensor serves every bit width.
"""

import numpy as np

from evaluators.quantizers.histogram import FloatArray, Histogram, IntArray
from evaluators.quantizers.uniform import check_uniform_bits

CANDIDATES = 99

# An end of an asymmetric range is a whole number of hundredths of the greatest value there:
# a coarse look at every fourth, both ends jointly, then a fine one around the best pair.
_HUNDREDTHS, _COARSE = 100, 4


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
    beyond = np.abs(centres) - thresholds
    # In one array: a channel's weights are scanned by the thousand, and fresh memory takes longer
    # than arithmetic.
    errors = centres / steps
    np.clip(np.rint(errors, out=errors), -high - 1, high, out=errors)
    errors *= steps
    np.subtract(centres, errors, out=errors)
    np.copyto(errors, beyond, where=beyond > 0.0)
    errors *= errors
    costs: FloatArray = errors @ source.shares
    return costs


def mmse_threshold(source: Histogram, *, bits: int) -> float:
    """Return the candidate threshold of least cost, the first of equals; 0 if all is 0."""
    best = int(np.argmin(mmse_costs(source, bits=bits)))
    return float(_candidates(source)[best])


def mmse_ends(source: Histogram, *, bits: int) -> tuple[float, float]:
    """Return the least and greatest value that clip, of least mean square error jointly.

    Candidates are 0.01 i min(low, 0) and 0.01 j max(high, 0) with i and j of 1..100: first all
    pairs of multiples of 4, then all pairs within 3 of the best. Bins cost their distance to the
    nearest level of `asymmetric_grid`; the first of equals is taken.
    """
    check_uniform_bits(bits)
    ends = min(source.low, 0.0), max(source.high, 0.0)
    if source.peak == 0.0:
        return ends
    coarse = np.arange(_COARSE, _HUNDREDTHS + 1, _COARSE)
    best = _best_pair(source, ends, (coarse, coarse), bits)
    return _scaled(ends, _best_pair(source, ends, (_around(best[0]), _around(best[1])), bits))


def _best_pair(
    source: Histogram, ends: tuple[float, float], shares: tuple[IntArray, IntArray], bits: int
) -> tuple[int, int]:
    # an end at 0 has one candidate, whatever its share
    lower, upper = (share if end else share[:1] for end, share in zip(ends, shares, strict=True))
    least = ends[0] * 0.01 * lower[:, None, None]
    most = ends[1] * 0.01 * upper[None, :, None]
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale = (high - low) / (most - least)
    zero = low - np.rint(scale * least)
    errors = source.centres * scale  # in one array, as above
    np.clip(np.rint(errors, out=errors), low - zero, high - zero, out=errors)
    errors /= scale
    np.subtract(source.centres, errors, out=errors)
    errors *= errors
    costs = errors @ source.shares
    i, j = np.unravel_index(int(np.argmin(costs)), costs.shape)
    return int(lower[i]), int(upper[j])


def _around(share: int) -> IntArray:
    return np.arange(max(1, share - _COARSE + 1), min(_HUNDREDTHS, share + _COARSE - 1) + 1)


def _scaled(ends: tuple[float, float], shares: tuple[int, int]) -> tuple[float, float]:
    return ends[0] * 0.01 * shares[0], ends[1] * 0.01 * shares[1]


def _candidates(source: Histogram) -> FloatArray:
    return np.arange(1, CANDIDATES + 1, dtype=np.float64) * 0.01 * source.peak
