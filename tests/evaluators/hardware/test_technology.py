"""Constants of the technologies: figures of the sheets, fits to their sources, and sources."""

import math
from importlib.resources import files

import numpy as np
import pytest

from evaluators.hardware.constants import load_constants
from evaluators.hardware.technology import cubic_pj_per_bit, technology

SETS = ("horowitz-45", "interstellar-28", "general-45")
FILES = sorted(
    path.name.removesuffix(".yaml")
    for path in files("evaluators.hardware.platforms").iterdir()
    if path.name.endswith(".yaml")
)
# synthesised 4 x 4 arrays in the code of BitFusion, per unit: width -> pJ a cycle, um^2
FIXED_UNITS = {2: (0.0407, 81.1), 4: (0.0824, 191.6), 8: (0.2034, 510.7), 16: (0.6027, 1679)}


def mac(name: str, w: int, a: int) -> float:
    return float(technology(name).mac_pj(np.array(w), np.array(a)))


@pytest.mark.parametrize("name", FILES)
def test_every_constant_of_every_file_has_a_source_and_a_unit(name: str) -> None:
    constants = list(load_constants(name))

    assert constants
    for constant in constants:
        assert len(constant.source) > 10
        assert constant.unit
        assert math.isfinite(constant.value)


@pytest.mark.parametrize("name", ["horowitz-45", "interstellar-28"])
def test_a_mac_of_8_bits_is_that_of_the_reconstruction(name: str) -> None:
    assert mac(name, 8, 8) == pytest.approx(0.23, abs=1e-12)


def test_a_multiplier_of_32_bits_is_that_of_horowitz() -> None:
    assert mac("horowitz-45", 32, 32) - 0.03 == pytest.approx(3.1, abs=5e-3)


@pytest.mark.parametrize(("bits", "pj"), [(2, 0.0407), (4, 0.0823), (8, 0.2040), (16, 0.6021)])
def test_the_fit_of_fixed_units_gives_the_figures_of_the_sheet(bits: int, pj: float) -> None:
    assert mac("general-45", bits, bits) == pytest.approx(pj, abs=5.1e-5)


@pytest.mark.parametrize("bits", FIXED_UNITS)
def test_the_fits_are_as_close_to_the_units_as_their_sources_say(bits: int) -> None:
    pj, um2 = FIXED_UNITS[bits]
    area = float(technology("general-45").mac_um2(np.array(bits), np.array(bits)))

    assert mac("general-45", bits, bits) == pytest.approx(pj, rel=0.004)
    assert area == pytest.approx(um2, rel=0.022)


def test_an_8_bit_unit_has_the_area_of_the_sheet() -> None:
    area = technology("general-45").mac_um2(np.array(8), np.array(8))

    assert float(area) == pytest.approx(521.8, abs=0.05)


def test_accumulators_of_gates_have_the_energies_of_the_sheet() -> None:
    general = technology("general-45")

    assert general.add_pj(8) == pytest.approx(0.0408)
    assert general.add_pj(32) == pytest.approx(0.1632)


def test_memories_are_interpolated_in_logarithms() -> None:
    general = technology("general-45")

    assert general.sram_pj(math.sqrt(8), sized=True).read_pj == pytest.approx(0.0798, abs=5e-5)
    for point in general.sram_points:
        at = general.sram_pj(point.kib, sized=True)
        assert (at.read_pj, at.write_pj) == pytest.approx((point.read_pj, point.write_pj))


def test_memories_beyond_the_known_ones_cost_as_the_last_of_them() -> None:
    general = technology("general-45")

    largest = general.sram_pj(16, sized=True)
    assert general.sram_pj(256, sized=True).read_pj == largest.read_pj


def test_the_cubic_of_horowitz_gives_the_figures_of_the_sheet_and_of_the_file() -> None:
    assert 8 * cubic_pj_per_bit(128) == pytest.approx(5.148, abs=5e-4)
    assert 8 * cubic_pj_per_bit(256) == pytest.approx(7.104, abs=5e-4)
    # 10, 20 and 100 pJ for 64 bits
    assert [64 * cubic_pj_per_bit(kib) for kib in (8, 32, 1024)] == pytest.approx(
        [10, 20, 100], rel=3e-3
    )
    for point in technology("horowitz-45").sram_points:
        assert point.read_pj == pytest.approx(cubic_pj_per_bit(point.kib), abs=1e-6)


def test_interstellars_memories_grow_by_half_with_every_doubling() -> None:
    interstellar = technology("interstellar-28")

    assert interstellar.sram_pj(128, sized=True).read_pj == pytest.approx(20.25 / 16)
    assert interstellar.sram_pj(256, sized=True).read_pj == pytest.approx(1.5 * 20.25 / 16)


@pytest.mark.parametrize(("name", "pj"), [("horowitz-45", 7.1), ("interstellar-28", 10.1)])
def test_the_buffers_of_the_reconstruction_cost_one_figure(name: str, pj: float) -> None:
    buffer = technology(name).sram_pj(128, sized=False)

    assert 8 * buffer.read_pj == 8 * buffer.write_pj == pytest.approx(pj)


@pytest.mark.parametrize("name", SETS)
def test_wider_operands_cost_more(name: str) -> None:
    widths = np.arange(2, 17)
    energies = technology(name).mac_pj(widths[:, None], widths[None, :])

    assert (np.diff(energies, axis=0) > 0).all()
    assert (np.diff(energies, axis=1) > 0).all()
