import math
from fractions import Fraction

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.quantizers.grid import Grid, round_half_up


def test_halves_round_up() -> None:
    values = torch.tensor([0.5, -0.5, 1.5, -1.5, 2.5, -2.5])

    assert round_half_up(values).tolist() == [1, 0, 2, -1, 3, -2]


def test_value_just_below_a_half_rounds_down_though_adding_a_half_would_not() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0.0))

    assert np.floor(below + np.float32(0.5)) == 1.0
    assert round_half_up(torch.tensor([below])).item() == 0.0


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(deadline=None)
def test_rounding_equals_the_floor_of_the_exact_sum(value: float) -> None:
    exact = math.floor(Fraction(value) + Fraction(1, 2))

    assert round_half_up(torch.tensor([value])).item() == exact


def test_codes_saturate_at_both_ends_and_leave_the_values_alone() -> None:
    values = torch.tensor([-1e30, -1.0, 0.25, 1.0, 1e30])

    codes = Grid(scale=2.0, low=-2, high=1).codes(values)

    assert codes.tolist() == [-2, -2, 1, 1, 1]
    assert values[2] == 0.25


def test_scale_zero_gives_code_zero_and_step_zero() -> None:
    grid = Grid(scale=0.0, low=-8, high=7)

    assert grid.codes(torch.tensor([-3.0, 0.0, 5.0])).tolist() == [0, 0, 0]
    assert grid.step == 0.0
