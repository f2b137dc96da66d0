import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evaluators.arithmetic.byte_paths import IntMm
from evaluators.arithmetic.convolution import Window, integer_convolution_oracle
from evaluators.arithmetic.convolvers import (
    FloatConvolver,
    PartsConvolver,
    PointwiseConvolver,
    convolution_multiplier,
)
from evaluators.arithmetic.encoding import Encoding
from evaluators.arithmetic.multipliers import Multiplier
from evaluators.arithmetic.probe import is_exact
from evaluators.arithmetic.weights import Weights
from tests.evaluators.arithmetic.test_convolution import convolutions
from tests.evaluators.arithmetic.test_multipliers import (
    encodings,
    expected,
    real_values,
    weight_codes,
)

_POINT = Window(stride=(1, 1), dilation=(1, 1), padding="valid", groups=1)
_BYTES = Encoding(scale=1.0, low=-128, high=127)
_WIDE = Encoding(scale=1.0, low=-(2**15), high=2**15 - 1)


def _multiplier(
    weights: Tensor,
    encoding: Encoding,
    window: Window,
    *,
    bytes_pay: bool = False,
    powers: bool = False,
) -> tuple[Multiplier, Tensor]:
    step = torch.linspace(1e-4, 0.3, len(weights), dtype=torch.float64)
    if powers:
        step = 2.0 ** -torch.arange(len(weights), dtype=torch.float64)
    multiply = convolution_multiplier(
        Weights(weights),
        encoding,
        step,
        dtype=torch.float32,
        window=window,
        bytes_pay=bytes_pay,
    )
    return multiply, step


def _check(
    values: Tensor,
    weights: Tensor,
    encoding: Encoding,
    window: Window,
    pay: bool,
    powers: bool = False,
) -> None:
    bias = torch.linspace(-5.0, 5.0, len(weights))
    multiply, step = _multiplier(weights, encoding, window, bytes_pay=pay, powers=powers)

    result, finite = multiply(values, bias)

    codes = (values * encoding.scale).round() + encoding.zero
    centred = codes.clamp(encoding.low, encoding.high) - encoding.zero
    ones = (-1, *(1,) * (weights.dim() - 2))
    sums = integer_convolution_oracle(centred, weights, window)
    assert finite
    assert torch.equal(result, expected(sums, step.reshape(ones), bias.reshape(ones)))


@pytest.mark.parametrize("dimensions", [1, 2])
@given(st.data())
@settings(deadline=None, max_examples=150)
def test_convolutions_give_the_scaled_integer_convolution(
    dimensions: int, data: st.DataObject
) -> None:
    inputs, like, window, _ = data.draw(convolutions(dimensions))
    weights = data.draw(weight_codes(tuple(like.shape)))
    encoding = data.draw(encodings())
    values = real_values(tuple(inputs.shape), encoding, data.draw(st.integers(0, 9)))
    if dimensions == 2 and data.draw(st.booleans()):
        values = values.to(memory_format=torch.channels_last)

    _check(values, weights, encoding, window, False, data.draw(st.booleans()))


@pytest.mark.skipif(not is_exact(IntMm()), reason="not exact on this processor")
@given(st.data())
@settings(deadline=None, max_examples=100)
def test_pointwise_convolutions_give_the_scaled_integer_convolution(data: st.DataObject) -> None:
    batch, n, height, width = (data.draw(st.integers(1, 9)) for _ in range(4))
    channels = data.draw(st.integers(64, 200))
    weights = data.draw(weight_codes((n, channels, 1, 1)))
    encoding = data.draw(encodings())
    values = real_values((batch, channels, height, width), encoding, data.draw(st.integers(0, 9)))

    assert isinstance(
        _multiplier(weights, encoding, _POINT, bytes_pay=True)[0], PointwiseConvolver
    )
    _check(values, weights, encoding, _POINT, True)


@pytest.mark.parametrize("encoding", [_BYTES, _WIDE], ids=["bytes", "wide"])
@pytest.mark.parametrize("pay", [True, False])
@pytest.mark.parametrize("shape", [(2, 64, 3, 5), (64, 3, 5), (0, 64, 3, 5)], ids=str)
def test_a_batch_may_be_missing_or_empty(
    encoding: Encoding, pay: bool, shape: tuple[int, ...]
) -> None:
    weights = torch.ones(7, 64, 1, 1, dtype=torch.int8)
    multiply, step = _multiplier(weights, encoding, _POINT, bytes_pay=pay)

    result, finite = multiply(torch.ones(shape), None)

    assert finite
    assert result.shape == (*shape[:-3], 7, 3, 5)
    assert torch.equal(result, (64 * step.float())[:, None, None].expand(result.shape))


@pytest.mark.parametrize("encoding", [_BYTES, _WIDE], ids=["bytes", "wide"])
def test_pictures_may_lie_between_each_other(encoding: Encoding) -> None:
    weights = torch.arange(-13, 14).reshape(3, 3, 3, 1).to(torch.int8)
    window = Window(stride=(1, 1), dilation=(1, 1), padding="same", groups=1)
    values = real_values((3, 40, 80, 50), encoding, 1).transpose(0, 1)

    _check(values, weights, encoding, window, False)


def test_sums_beyond_32_bits_are_left_to_float64() -> None:
    weights = torch.full((2, 2**9, 1, 1), 2**15 - 1, dtype=torch.int16)

    chosen = _multiplier(weights, _WIDE, _POINT, bytes_pay=True)[0]

    assert isinstance(chosen, FloatConvolver)
    assert chosen.weights.dtype == torch.float64


def test_widths_and_kernels_choose_the_way() -> None:
    small = torch.full((4, 1, 3, 3), 2**14, dtype=torch.int16)
    window = Window(stride=(1, 1), dilation=(1, 1), padding="same", groups=4)
    deep = torch.full((4, 64, 1, 1), 2**15 - 1, dtype=torch.int16)

    assert isinstance(_multiplier(small, _WIDE, window)[0], PartsConvolver)
    assert isinstance(
        _multiplier(small.clamp(-128, 127).char(), _BYTES, window)[0], FloatConvolver
    )
    assert isinstance(_multiplier(deep, _WIDE, _POINT)[0], FloatConvolver)
    assert isinstance(_multiplier(deep, _WIDE, _POINT, bytes_pay=True)[0], PointwiseConvolver)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("encoding", [_BYTES, _WIDE], ids=["bytes", "wide"])
@pytest.mark.parametrize("pay", [True, False])
def test_values_without_a_code_are_told_of(value: float, encoding: Encoding, pay: bool) -> None:
    values = torch.zeros(1, 64, 3, 5)
    values[0, 63, 2, 4] = value
    weights = torch.ones(2, 64, 1, 1, dtype=torch.int8)

    assert not _multiplier(weights, encoding, _POINT, bytes_pay=pay)[0](values, None)[1]
