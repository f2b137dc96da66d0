"""BitFusion by its ratio table: multipliers composed of 2-bit bricks."""

from collections.abc import Mapping
from itertools import product

from dse.knobs import BITS
from evaluators.hardware.constants import Constants, load_constants
from evaluators.hardware.ratios import RatioPlatform, mode_of


def bitfusion(params: Mapping[str, object]) -> RatioPlatform:
    """Make the platform: 2..8 or 16 bits, weights and activations apart.

    Args:
        params: `mode`: "paper" (default) or "latency".

    Raises:
        SpecError: another parameter or mode.
    """
    constants = load_constants("bitfusion")
    return RatioPlatform(
        name="bitfusion",
        mode=mode_of("bitfusion", params),
        sheet=constants,
        ratios={(w, a): _ratio(constants, w, a) for w, a in product(BITS, BITS)},
        knobs={"w_bits": BITS, "a_bits": BITS},
    )


def _ratio(constants: Constants, w_bits: int, a_bits: int) -> float:
    """MOHAQ, BitFusion speedup: min(64, 256 / (w a)), for widths that are powers of two."""
    bits = _computed_bits(constants, w_bits) * _computed_bits(constants, a_bits)
    return min(constants["peak_ratio"], constants["reference_product"] / bits)


def _computed_bits(constants: Constants, bits: int) -> int:
    narrowest = int(constants["narrowest_operand_bits"])
    return 1 << (max(bits, narrowest) - 1).bit_length()
