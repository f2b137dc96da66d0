from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evaluators.arithmetic.columns import input_rows, weight_rows
from evaluators.arithmetic.convolution import Window, integer_convolution_oracle
from tests.evaluators.arithmetic.test_convolution import convolutions


def order(channels: int, kernel: tuple[int, ...], tile: int) -> list[tuple[int, ...]]:
    """(channel, *place) of each element of a reduction, slowly and plainly."""
    return [
        (channel, *place)
        for begin in range(0, channels, tile)
        for place in product(*map(range, kernel))
        for channel in range(begin, min(begin + tile, channels))
    ]


@pytest.mark.parametrize("dimensions", [1, 2])
@given(st.data())
@settings(deadline=None, max_examples=100)
def test_rows_times_rows_are_the_convolution(dimensions: int, data: st.DataObject) -> None:
    inputs, weights, window, _ = data.draw(convolutions(dimensions))
    tile = data.draw(st.integers(1, 12))

    rows = input_rows(inputs, weights.shape[2:], window, tile)
    columns = weight_rows(weights, window, tile)

    found = torch.einsum("...gk,gnk->...gn", rows.double(), columns.double()).flatten(-2)
    np.testing.assert_array_equal(
        found.movedim(-1, 1).numpy(), integer_convolution_oracle(inputs, weights, window)
    )


@pytest.mark.parametrize("kernel", [(3,), (2, 3)])
@pytest.mark.parametrize("tile", [1, 2, 4, 5, 7, 10, 99])
def test_the_reduction_goes_by_channel_tile_place_and_channel(
    kernel: tuple[int, ...], tile: int
) -> None:
    channels, groups = 5, 2
    weights = torch.arange(4 * channels * int(np.prod(kernel))).reshape(4, channels, *kernel)
    window = Window(
        stride=(1,) * len(kernel),
        dilation=(1,) * len(kernel),
        padding="valid",
        groups=groups,
    )

    rows = weight_rows(weights, window, tile)

    wanted = [[int(one[at]) for at in order(channels, kernel, tile)] for one in weights]
    assert rows.reshape(4, -1).tolist() == wanted
    assert rows.shape[:2] == (groups, 2)


def test_whole_channel_tiles_are_one_place_each() -> None:
    weights: Tensor = torch.arange(8 * 9).reshape(1, 8, 3, 3)
    window = Window(stride=(1, 1), dilation=(1, 1), padding="valid", groups=1)

    tiles = weight_rows(weights, window, 4).reshape(-1, 4)

    places = [{int(element) % 9 for element in tile} for tile in tiles]
    assert all(len(place) == 1 for place in places)
    assert len(tiles) == 2 * 9


def test_margins_hold_the_code_of_zero() -> None:
    window = Window(stride=(1,), dilation=(1,), padding=(2,), groups=1)

    rows = input_rows(torch.ones(1, 1, 2, dtype=torch.uint8), (3,), window, 8, zero=9)

    assert rows.flatten(1).tolist() == [[9, 9, 1, 9, 1, 1, 1, 1, 9, 1, 9, 9]]
