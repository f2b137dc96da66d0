import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dse.errors import SpecError
from evaluators.arithmetic.products import (
    exact_dtype,
    heaviest_column,
    integer_matmul,
    integer_matmul_oracle,
    integer_product,
    integer_product_oracle,
)

_BITS = st.sampled_from((2, 3, 4, 5, 6, 7, 8, 16))


def _product(inputs: Tensor, weights: Tensor, largest_input: int) -> Tensor:
    dtype = exact_dtype(heaviest_column(weights) * largest_input)
    return integer_product(inputs.to(dtype), weights.to(dtype))


@st.composite
def codes(draw: st.DrawFn, shape: tuple[int, ...], *, zero: bool = False) -> tuple[Tensor, int]:
    """Centred codes of some width, half the time of the extremes alone, and their largest
    magnitude.

    Args:
        zero: with a zero point anywhere.
    """
    bits = draw(_BITS)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    point = draw(st.integers(low, high)) if zero else 0
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    extreme = draw(st.booleans())
    drawn = rng.choice([low, high], shape) if extreme else rng.integers(low, high + 1, shape)
    centred = torch.tensor(drawn - point, dtype=torch.float32)
    return centred, max(high - point, point - low)


@given(st.data())
@settings(deadline=None, max_examples=300)
def test_product_equals_the_integer_oracle(data: st.DataObject) -> None:
    rows, k, n = (data.draw(st.integers(*ends)) for ends in ((0, 5), (1, 300), (1, 5)))
    inputs, largest_input = data.draw(codes((rows, k), zero=True))
    weights, _ = data.draw(codes((n, k)))

    result = _product(inputs, weights, largest_input)

    np.testing.assert_array_equal(
        result.numpy().astype(np.int64), integer_product_oracle(inputs, weights)
    )


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_matmul_equals_the_integer_oracle(data: st.DataObject) -> None:
    m, n, k = (data.draw(st.integers(*ends)) for ends in ((0, 5), (1, 5), (1, 200)))
    leading = data.draw(st.sampled_from([((), ()), ((3,), (3,)), ((2, 1), (4,)), ((), (2, 2))]))
    first, largest_first = data.draw(codes((*leading[0], m, k), zero=True))
    second, largest_second = data.draw(codes((*leading[1], k, n), zero=True))
    dtype = exact_dtype(k * largest_first * largest_second)

    result = integer_matmul(first.to(dtype), second.to(dtype))

    np.testing.assert_array_equal(
        result.numpy().astype(np.int64), integer_matmul_oracle(first, second)
    )


@given(st.data())
@settings(deadline=None)
def test_centred_codes_give_the_stored_codes_product_less_the_zero_points_share(
    data: st.DataObject,
) -> None:
    zero = data.draw(st.integers(-128, 127))
    stored = torch.tensor(data.draw(st.lists(st.integers(-128, 127), min_size=9, max_size=9)))
    weights, _ = data.draw(codes((4, 9)))

    centred = integer_product_oracle((stored - zero)[None], weights)

    whole = integer_product_oracle(stored[None], weights)
    np.testing.assert_array_equal(centred[0], whole[0] - zero * weights.sum(1).long().numpy())


@pytest.mark.parametrize(
    ("k", "dtype"), [(2**10, torch.float32), (2**10 + 1, torch.float64)], ids=["at", "above"]
)
def test_largest_sums_are_exact_on_both_sides_of_the_float32_limit(
    k: int, dtype: torch.dtype
) -> None:
    inputs = torch.full((1, k), -128.0)
    weights = torch.full((1, k), -128.0)

    result = _product(inputs, weights, 128)

    assert exact_dtype(heaviest_column(weights) * 128) == dtype
    assert result.item() == 128 * 128 * k


def test_sum_beyond_float32_is_exact_where_float32_would_round() -> None:
    inputs = torch.tensor([[2.0**15 - 1, 1.0]])
    weights = torch.tensor([[2.0**15 - 1, 2.0]])

    assert integer_product(inputs, weights).item() != 32767**2 + 2
    assert _product(inputs, weights, 2**15 - 1).item() == 32767**2 + 2


def test_sums_beyond_float64_are_refused() -> None:
    with pytest.raises(SpecError, match=r"2\^53"):
        exact_dtype(2**53 + 1)


def test_heaviest_column_is_that_of_the_output_channel_of_most_weight() -> None:
    weights = torch.tensor([[[-128, 127], [3, 0]], [[-128, -128], [1, 1]]], dtype=torch.int8)

    assert heaviest_column(weights) == 258
