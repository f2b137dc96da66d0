"""BitFusion, multipliers composed of 2-bit bricks: by its ratio table, or cycle by cycle."""

from collections.abc import Mapping
from itertools import product
from typing import Final

from dse.errors import SpecError
from dse.knobs import BITS
from dse.ports import Platform
from evaluators.hardware.constants import Constants, load_constants
from evaluators.hardware.fusion.platform import cycle_platform
from evaluators.hardware.ratios import RatioPlatform, mode_of

_MODES: Final = ("paper", "latency", "cycles")


def bitfusion(params: Mapping[str, object]) -> Platform:
    """Make the platform: 2..8 or 16 bits, weights and activations apart.

    Args:
        params: `mode`: "paper" (default), "latency", or "cycles" with the parameters of
            `evaluators.hardware.fusion.configuration.Parameters`.

    Raises:
        SpecError: another parameter or mode.
    """
    mode = params.get("mode", "paper")
    if mode == "cycles":
        return cycle_platform(params)
    if mode not in _MODES:
        raise SpecError(
            f"platform 'bitfusion': mode must be one of {', '.join(_MODES)}, got {mode!r}"
        )
    return by_ratios(params)


def by_ratios(params: Mapping[str, object]) -> RatioPlatform:
    """Make the platform of the ratio table, in mode "paper" or "latency".

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
