from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evaluators.arithmetic.byte_paths import PATHS, BytePath, Full, Medium, OneDnn
from evaluators.arithmetic.encoding import Encoding
from evaluators.arithmetic.multipliers import (
    ByteMultiplier,
    FloatMultiplier,
    Multiplier,
    PartsMultiplier,
    exact_steps,
    matrix_multiplier,
)
from evaluators.arithmetic.probe import is_exact
from evaluators.arithmetic.products import integer_product_oracle
from evaluators.arithmetic.weights import Weights

_BITS = st.sampled_from((2, 3, 4, 5, 6, 7, 8, 16))
# What this build of torch lacks or this processor rounds is never taken.
_EXACT = [path for path in PATHS if is_exact(path)]


@st.composite
def encodings(draw: st.DrawFn) -> Encoding:
    """An encoding of any width, with a zero point up to 8 bits."""
    bits = draw(_BITS)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    zero = 0 if bits == 16 else draw(st.sampled_from((0, low, high, 1)))
    return Encoding(
        scale=draw(st.sampled_from((0.0, 0.3, 1.0, 77.7))), low=low, high=high, zero=zero
    )


@st.composite
def weight_codes(draw: st.DrawFn, shape: tuple[int, ...]) -> Tensor:
    """Codes of any width, as they are stored; half the time the extremes alone."""
    bits = draw(_BITS)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    extreme = draw(st.booleans())
    drawn = rng.choice([low, high], shape) if extreme else rng.integers(low, high + 1, shape)
    return torch.tensor(drawn, dtype=torch.int8 if bits <= 8 else torch.int16)


def real_values(shape: tuple[int, ...], encoding: Encoding, seed: int) -> Tensor:
    """Values that reach all codes, clip, and lie between two codes."""
    generator = torch.Generator().manual_seed(seed)
    reach = 1.3 * encoding.largest / (encoding.scale or 1.0)
    values = (2 * torch.rand(shape, generator=generator) - 1) * reach
    halves = torch.rand(shape, generator=generator) < 0.2
    return torch.where(halves, (values * 2).round() / 2, values)


@st.composite
def steps(draw: st.DrawFn, n: int) -> Tensor:
    """Steps of n channels, half the time powers of 2."""
    if draw(st.booleans()):
        return torch.linspace(1e-4, 0.3, n, dtype=torch.float64)
    powers = draw(st.lists(st.integers(-110, 3), min_size=n, max_size=n))
    return torch.tensor([2.0**power for power in powers], dtype=torch.float64)


def expected(
    sums: "np.ndarray[tuple[int, ...], np.dtype[np.int64]]", step: Tensor, bias: Tensor | None
) -> Tensor:
    """What every way must return, bit for bit: a product and a sum, each rounded by itself."""
    product = torch.from_numpy(sums).double().float()
    real = product * step.float()
    return real if bias is None else real + bias


@pytest.mark.parametrize("path", _EXACT, ids=lambda path: path.name)
@given(st.data())
@settings(deadline=None, max_examples=100)
def test_every_way_gives_the_scaled_integer_product(path: BytePath, data: st.DataObject) -> None:
    rows, k, n = (data.draw(st.integers(*ends)) for ends in ((0, 70), (1, 300), (1, 40)))
    weights, encoding = data.draw(weight_codes((n, k))), data.draw(encodings())
    values = real_values((rows, k), encoding, data.draw(st.integers(0, 9)))
    step = data.draw(steps(n))
    bias = torch.linspace(-5.0, 5.0, n) if data.draw(st.booleans()) else None

    multiply = matrix_multiplier(
        Weights(weights),
        encoding,
        step,
        dtype=torch.float32,
        path=path,
    )
    result, finite = multiply(values, bias)

    codes = (values * encoding.scale).round() + encoding.zero
    centred = codes.clamp(encoding.low, encoding.high) - encoding.zero
    sums = integer_product_oracle(centred, weights)
    assert finite
    assert torch.equal(result, expected(sums, step, bias))


def _chosen(weights: Tensor, encoding: Encoding, path: BytePath) -> Multiplier:
    return matrix_multiplier(
        Weights(weights),
        encoding,
        torch.tensor(0.5, dtype=torch.float64),
        dtype=torch.float32,
        path=path,
    )


_BYTES = Encoding(scale=1.0, low=-128, high=127)
_WIDE = Encoding(scale=1.0, low=-(2**15), high=2**15 - 1)


def test_widths_choose_bytes_parts_or_floats() -> None:
    narrow = torch.full((2, 100), -128, dtype=torch.int8)
    wide = torch.full((2, 100), 2**15 - 1, dtype=torch.int16)
    path = Medium()

    assert isinstance(_chosen(narrow, _BYTES, path), ByteMultiplier)
    assert isinstance(_chosen(narrow, _WIDE, path), PartsMultiplier)
    assert isinstance(_chosen(wide, _BYTES, path), PartsMultiplier)
    assert isinstance(_chosen(wide, _WIDE, path), FloatMultiplier)
    assert isinstance(_chosen(wide.repeat(1, 3), _WIDE, path), PartsMultiplier)
    assert isinstance(_chosen(wide, _WIDE, Full()), FloatMultiplier)


@pytest.mark.parametrize("encoding", [_BYTES, _WIDE], ids=["bytes", "wide"])
def test_sums_beyond_float32_are_left_to_float64(encoding: Encoding) -> None:
    weights = torch.full((1, 2000), -128, dtype=torch.int8)

    chosen = _chosen(weights, encoding, Medium())

    assert isinstance(chosen, FloatMultiplier)
    assert chosen.weights.dtype == torch.float64
    result, _ = chosen(torch.full((1, 2000), -1e6), None)
    assert result.item() == 0.5 * 2000 * 128 * -encoding.low


@pytest.mark.parametrize(
    ("step", "exact"),
    [([0.5], True), ([2.0**-24, 4.0], True), ([0.5, 0.3], False), ([0.0], False)],
    ids=str,
)
def test_powers_of_2_alone_are_exact_steps(step: list[float], exact: bool) -> None:
    assert exact_steps(torch.tensor(step, dtype=torch.float64)) is exact


def test_float64_values_keep_their_precision() -> None:
    weights = torch.tensor([[3, -5]], dtype=torch.int8)
    multiply = matrix_multiplier(
        Weights(weights),
        replace(_BYTES, scale=0.1),
        torch.tensor(1 / 3, dtype=torch.float64),
        dtype=torch.float64,
        path=OneDnn(),
    )

    result, _ = multiply(torch.tensor([[100.0, 20.0]], dtype=torch.float64), None)

    assert result.item() == (3 * 10 - 5 * 2) * (1 / 3)


@pytest.mark.parametrize("path", _EXACT, ids=lambda path: path.name)
@pytest.mark.parametrize("shape", [(6,), (2, 3, 6), (0, 6), (2, 0, 6)], ids=str)
def test_leading_dimensions_stay(path: BytePath, shape: tuple[int, ...]) -> None:
    weights = torch.ones(4, 6, dtype=torch.int8)

    for encoding in (_BYTES, _WIDE):
        multiply = _chosen(weights, encoding, path)
        result, _ = multiply(torch.ones(shape), torch.ones(4))

        assert torch.equal(result, torch.full((*shape[:-1], 4), 4.0))


@pytest.mark.parametrize("path", [*_EXACT, Full()], ids=lambda path: path.name)
@pytest.mark.parametrize("encoding", [_BYTES, _WIDE], ids=["bytes", "wide"])
def test_a_networks_autocast_changes_nothing(path: BytePath, encoding: Encoding) -> None:
    weights = torch.arange(-128, 128, dtype=torch.int16).to(torch.int8).reshape(8, 32)
    values = real_values((9, 32), encoding, 1)
    multiply = _chosen(weights, encoding, path)
    plain, _ = multiply(values, None)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, _ = multiply(values, None)

    assert torch.equal(result, plain)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("encoding", [_BYTES, _WIDE], ids=["bytes", "wide"])
def test_values_without_a_code_are_told_of(value: float, encoding: Encoding) -> None:
    values = torch.zeros(40, 6)
    values[31, 2] = value

    for path in (*_EXACT, Full()):
        _, finite = _chosen(torch.ones(4, 6, dtype=torch.int8), encoding, path)(values, None)
        assert not finite
