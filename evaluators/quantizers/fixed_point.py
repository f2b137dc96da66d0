import math

from dse.errors import SpecError
from evaluators.quantizers.grid import Grid

FIXED_POINT_BITS = 16

# (values below this magnitude, fraction bits): Q1.14, Q5.10 and Q8.7, one sign bit each. MOHAQ's
# code emulates them by decimal steps 1e-4, 1e-3, 1e-2; these are the true binary formats.
_FORMATS = ((2.0, 14), (32.0, 10), (math.inf, 7))


def fixed_point_grid(peak: float) -> Grid:
    """Return the 16-bit fixed-point grid of a tensor whose largest magnitude is `peak`.

    Q1.14 if peak < 2, Q5.10 if peak < 32, else Q8.7; what lies outside saturates.
    """
    if not 0.0 <= peak < math.inf:
        raise SpecError(f"peak must be finite and at least 0, got {peak}")
    fraction_bits = next(bits for limit, bits in _FORMATS if peak < limit)
    return Grid(scale=2.0**fraction_bits, low=-(2**15), high=2**15 - 1)
