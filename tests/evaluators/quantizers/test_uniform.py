import math

import pytest
import torch

from dse.errors import SpecError
from evaluators.quantizers.uniform import UNIFORM_BITS, uniform_grid


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
