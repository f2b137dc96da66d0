import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evaluators.arithmetic import convolution
from evaluators.arithmetic.convolution import (
    Window,
    integer_convolution,
    integer_convolution_oracle,
)
from evaluators.arithmetic.products import exact_dtype, heaviest_column
from tests.evaluators.arithmetic.test_products import codes

_STEP = st.integers(1, 3)


@st.composite
def convolutions(draw: st.DrawFn, dimensions: int) -> tuple[Tensor, Tensor, Window, int]:
    def each(one: st.SearchStrategy[int]) -> tuple[int, ...]:
        return tuple(draw(one) for _ in range(dimensions))

    kernel, dilation = each(st.integers(1, 4)), each(_STEP)
    groups, inner, n = draw(_STEP), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    if draw(st.booleans()):
        inner = 1
    stride, padding = each(_STEP), draw(st.sampled_from(["same", "valid", "ints"]))
    around = each(st.integers(0, 3))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = [far + draw(st.integers(0, 5)) for far in reach]
    window = Window(
        stride=(1,) * dimensions if padding == "same" else stride,
        dilation=dilation,
        padding=around if padding == "ints" else padding,
        groups=groups,
    )
    batch = draw(st.integers(1, 3))
    inputs, largest = draw(codes((batch, inner * groups, *size), zero=True))
    weights, _ = draw(codes((n * groups, inner, *kernel)))
    return inputs, weights, window, largest


@pytest.mark.parametrize("dimensions", [1, 2])
@given(st.data())
@settings(deadline=None, max_examples=150)
def test_convolution_equals_the_integer_oracle(dimensions: int, data: st.DataObject) -> None:
    inputs, weights, window, largest = data.draw(convolutions(dimensions))
    dtype = exact_dtype(heaviest_column(weights) * largest)

    result = integer_convolution(inputs.to(dtype), weights.to(dtype), window)

    np.testing.assert_array_equal(
        result.numpy().astype(np.int64), integer_convolution_oracle(inputs, weights, window)
    )


def _extremes(groups: int, channels: int) -> tuple[Tensor, Tensor]:
    """Codes whose sums are as large as float32 may hold, where other algorithms would round."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-255, 256, (1, channels, 20, 20), generator=generator)
    w = torch.randint(-128, 128, (channels, channels // groups, 3, 3), generator=generator)
    return x.float(), w.float()


@pytest.mark.parametrize(("groups", "channels"), [(1, 50), (50, 50)])
def test_large_sums_in_3_x_3_kernels_are_exact(groups: int, channels: int) -> None:
    inputs, weights = _extremes(groups, channels)
    window = Window(stride=(1, 1), dilation=(1, 1), padding=(1, 1), groups=groups)
    assert exact_dtype(heaviest_column(weights) * 255) == torch.float32

    result = integer_convolution(inputs, weights, window)

    np.testing.assert_array_equal(
        result.numpy().astype(np.int64), integer_convolution_oracle(inputs, weights, window)
    )


def test_a_batch_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, weights = _extremes(1, 50)
    batch = torch.cat([inputs, -inputs, 2 * inputs]).double()
    window = Window(stride=(2, 1), dilation=(1, 1), padding="valid", groups=1)
    whole = integer_convolution(batch, weights.double(), window)

    monkeypatch.setattr(convolution, "_MOST_COLUMNS", 1)

    assert torch.equal(integer_convolution(batch, weights.double(), window), whole)


def test_an_input_without_a_batch_is_a_batch_of_one() -> None:
    inputs, weights = _extremes(1, 50)
    window = Window(stride=(1, 1), dilation=(2, 1), padding="same", groups=1)

    alone = integer_convolution(inputs[0], weights, window)

    assert torch.equal(alone, integer_convolution(inputs, weights, window)[0])


def test_an_empty_batch_gives_an_empty_result() -> None:
    inputs, weights = _extremes(1, 50)
    window = Window(stride=(1, 1), dilation=(1, 1), padding=(1, 1), groups=1)

    assert integer_convolution(inputs[:0], weights, window).shape == (0, 50, 20, 20)
