"""SiLago: reconfigurable 16-bit units that split into two 8-bit or four 4-bit multipliers."""

from collections.abc import Mapping
from typing import Final

from evaluators.hardware.constants import load_constants
from evaluators.hardware.ratios import EnergyModel, RatioPlatform, mode_of

_WIDTHS: Final = (4, 8, 16)


def silago(params: Mapping[str, object]) -> RatioPlatform:
    """Make the platform: 4, 8 or 16 bits, the same for a layer's weights and activations.

    Args:
        params: `mode`: "paper" (default) or "latency".

    Raises:
        SpecError: another parameter or mode.
    """
    constants = load_constants("silago")
    speeds = {width: constants[f"macs_per_cycle_{width}"] for width in _WIDTHS}
    # MOHAQ, SiLago energy: a unit spends one cycle's energy on all the MACs of that cycle.
    mac_pj = {width: constants[f"unit_energy_{width}"] / speeds[width] for width in _WIDTHS}
    return RatioPlatform(
        name="silago",
        mode=mode_of("silago", params),
        sheet=constants,
        ratios={(width, width): speed for width, speed in speeds.items()},
        knobs={"w_bits": _WIDTHS, "a_bits": _WIDTHS},
        tied=(("w_bits", "a_bits"),),
        energy=EnergyModel(mac_pj=mac_pj, sram_pj_per_bit=constants["sram_read_energy"]),
    )
