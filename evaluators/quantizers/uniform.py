import math

from dse.errors import SpecError
from evaluators.quantizers.grid import Grid

UNIFORM_BITS = (2, 3, 4, 5, 6, 7, 8)

_FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127


def uniform_grid(threshold: float, *, bits: int) -> Grid:
    """Return the symmetric linear grid that maps `threshold` to its largest code.

    scale = (2^(b-1) - 1) / threshold, codes -2^(b-1) .. 2^(b-1) - 1 (MOHAQ, arXiv 2108.01192,
    and its public code): 2 bits are {-2, -1, 0, 1}.

    Args:
        threshold: magnitude that clips; 0 makes every code 0.
        bits: 2..8.
    """
    check_uniform_bits(bits)
    if not 0.0 <= threshold < math.inf:
        raise SpecError(f"threshold must be finite and at least 0, got {threshold}")
    high = 2 ** (bits - 1) - 1
    # A threshold so small that the scale leaves float32 is a tensor of zeros.
    scale = high / threshold if threshold > high / _FLOAT32_MAX else 0.0
    return Grid(scale=scale, low=-high - 1, high=high)


def asymmetric_grid(least: float, most: float, *, bits: int) -> Grid:
    """Return the linear grid that maps `least` to its smallest code and `most` to its largest,
    moved by less than a step so that the real 0 has a code of its own: the zero point.

    scale = (2^b - 1) / (most - least), zero = low - round(scale * least), codes
    -2^(b-1) .. 2^(b-1) - 1 (Jacob et al. 2018, arXiv 1712.05877, section 3).

    Args:
        least: at most 0; what lies below clips.
        most: at least 0; what lies above clips. Both 0 make every code 0.
        bits: 2..8.
    """
    check_uniform_bits(bits)
    if not -math.inf < least <= 0.0 <= most < math.inf:
        raise SpecError(f"a range must be finite and hold 0, got {least} .. {most}")
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    span = most - least
    if not (high - low) / _FLOAT32_MAX < span < math.inf:
        return Grid(scale=0.0, low=low, high=high)
    scale = (high - low) / span
    return Grid(scale=scale, low=low, high=high, zero=low - round(scale * least))


def check_uniform_bits(bits: int) -> None:
    if bits not in UNIFORM_BITS:
        raise SpecError(f"bits must be one of {UNIFORM_BITS}, got {bits}")
