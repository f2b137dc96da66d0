import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.quantizers.grid import Grid


def test_halves_round_to_even() -> None:
    values = torch.tensor([0.5, -0.5, 1.5, -1.5, 2.5, -2.5])

    assert Grid(scale=1.0, low=-8, high=7).codes(values).tolist() == [0, 0, 2, -2, 2, -2]


@given(st.floats(-1e6, 1e6, width=32), st.floats(2.0**-10, 2.0**10, width=32))
@settings(deadline=None)
def test_codes_equal_python_rounding_of_the_float32_product(value: float, scale: float) -> None:
    product = float(np.float32(value) * np.float32(scale))

    codes = Grid(scale=scale, low=-128, high=127).codes(torch.tensor([value]))

    assert codes.item() == min(max(round(product), -128), 127)


def test_codes_saturate_at_both_ends_and_leave_the_values_alone() -> None:
    values = torch.tensor([-1e30, -1.0, 0.5, 1.0, 1e30])

    codes = Grid(scale=2.0, low=-2, high=1).codes(values)

    assert codes.tolist() == [-2, -2, 1, 1, 1]
    assert values[2] == 0.5


def test_scale_zero_gives_code_zero_and_step_zero() -> None:
    grid = Grid(scale=0.0, low=-8, high=7)

    assert grid.codes(torch.tensor([-3.0, 0.0, 5.0])).tolist() == [0, 0, 0]
    assert grid.step == 0.0
