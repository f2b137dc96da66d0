import math

import pytest
import torch

from dse.errors import SpecError
from evaluators.quantizers.uniform import UNIFORM_BITS, asymmetric_grid, uniform_grid


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_threshold_maps_to_the_largest_code(bits: int) -> None:
    grid = uniform_grid(0.7, bits=bits)

    codes = grid.codes(torch.tensor([-9.0, -0.7, 0.0, 0.7, 9.0]))

    high = 2 ** (bits - 1) - 1
    assert codes.tolist() == [-high - 1, -high, 0, high, high]


def test_two_bits_have_the_levels_minus_two_to_one() -> None:
    codes = uniform_grid(1.0, bits=2).codes(torch.linspace(-4, 4, 1001))

    assert set(codes.tolist()) == {-2, -1, 0, 1}


@pytest.mark.parametrize("threshold", [0.0, 1e-44])
def test_threshold_without_a_finite_scale_makes_every_code_zero(threshold: float) -> None:
    grid = uniform_grid(threshold, bits=8)

    assert grid.codes(torch.tensor([-threshold, 0.0, threshold, 1.0])).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("bits", [0, 1, 9, 16])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(SpecError, match=f"got {bits}"):
        uniform_grid(1.0, bits=bits)


@pytest.mark.parametrize("threshold", [-1.0, math.nan, math.inf])
def test_impossible_thresholds_are_refused(threshold: float) -> None:
    with pytest.raises(SpecError, match="threshold must be finite"):
        uniform_grid(threshold, bits=4)


@pytest.mark.parametrize("bits", UNIFORM_BITS)
@pytest.mark.parametrize("ends", [(-0.3, 0.9), (0.0, 2.0), (-5.0, 0.0), (-1.0, 1.0)])
def test_ends_map_to_the_extreme_codes_within_the_rounding_of_the_zero_point(
    ends: tuple[float, float], bits: int
) -> None:
    grid = asymmetric_grid(*ends, bits=bits)

    least, zero, most = (grid.codes(torch.tensor([ends[0], 0.0, ends[1]]))).tolist()

    assert grid.low <= grid.zero <= grid.high
    assert zero == 0
    assert abs(least - grid.least) <= 1
    assert abs(most - grid.most) <= 1
    assert abs(grid.least * grid.step - ends[0]) <= 0.51 * grid.step
    assert (grid.most - grid.least) * grid.step == pytest.approx(ends[1] - ends[0])


@pytest.mark.parametrize("ends", [(0.0, 0.0), (-1e-44, 0.0)])
def test_asymmetric_range_without_a_finite_scale_makes_every_code_zero(
    ends: tuple[float, float],
) -> None:
    grid = asymmetric_grid(*ends, bits=8)

    assert grid.codes(torch.tensor([-1.0, 0.0, 1.0])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("ends", [(0.1, 1.0), (-1.0, -0.1), (-math.inf, 0.0), (0.0, math.nan)])
def test_asymmetric_ranges_without_zero_or_an_end_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(SpecError, match="must be finite and hold 0"):
        asymmetric_grid(*ends, bits=4)
