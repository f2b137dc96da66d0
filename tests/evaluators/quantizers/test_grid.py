import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.quantizers.grid import ChannelGrid, Grid


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


@given(
    st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9),
    st.floats(2.0**-6, 2.0**6, width=32),
    st.integers(-8, 7),
)
@settings(deadline=None)
def test_centred_codes_are_the_stored_codes_less_the_zero_point(
    values: list[float], scale: float, zero: int
) -> None:
    grid = Grid(scale=scale, low=-8, high=7, zero=zero)

    centred = grid.codes(torch.tensor(values))

    stored = (torch.tensor(values) * scale).round().add(zero).clamp(-8, 7)
    assert torch.equal(centred, stored - zero)
    assert int(centred.abs().max()) <= grid.largest


def test_the_real_zero_has_the_centred_code_zero() -> None:
    grid = Grid(scale=3.0, low=-8, high=7, zero=-8)

    assert grid.codes(torch.zeros(2)).tolist() == [0, 0]
    assert (grid.least, grid.most, grid.largest) == (0, 15, 15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_codes_of_halves_are_those_of_their_values(dtype: torch.dtype) -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(1)).to(dtype)
    grid = Grid(scale=2.0**14, low=-(2**15), high=2**15 - 1)

    assert torch.equal(grid.codes(values), grid.codes(values.float()))


def test_channels_have_their_own_scales_and_steps() -> None:
    grid = ChannelGrid(scales=(2.0, 0.0, 4.0), low=-8, high=7)

    codes = grid.codes(torch.tensor([[1.0, -9.0], [1.0, 1.0], [0.5, 1.0]]))

    assert codes.tolist() == [[2, -8], [0, 0], [2, 4]]
    assert grid.steps == (0.5, 0.0, 0.25)
    assert grid.real(codes).tolist() == [[1.0, -4.0], [0.0, 0.0], [0.5, 1.0]]
