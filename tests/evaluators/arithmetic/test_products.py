import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import SpecError
from evaluators.arithmetic.products import exact_dtype, integer_product, integer_product_oracle

_BITS = st.sampled_from((2, 3, 4, 5, 6, 7, 8, 16))


def _product(inputs: torch.Tensor, weights: torch.Tensor, largest_input: int) -> torch.Tensor:
    dtype = exact_dtype(weights, largest_input=largest_input)
    return integer_product(inputs.to(dtype), weights.to(dtype))


@st.composite
def _operands(draw: st.DrawFn) -> tuple[torch.Tensor, torch.Tensor, int]:
    w_bits, a_bits = draw(_BITS), draw(_BITS)
    rows, k, n = draw(st.integers(0, 5)), draw(st.integers(1, 300)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    extreme = draw(st.booleans())

    def codes(bits: int, shape: tuple[int, int]) -> torch.Tensor:
        low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        drawn = rng.choice([low, high], shape) if extreme else rng.integers(low, high + 1, shape)
        return torch.tensor(drawn, dtype=torch.float32)

    return codes(a_bits, (rows, k)), codes(w_bits, (n, k)), 2 ** (a_bits - 1)


@given(_operands())
@settings(deadline=None, max_examples=300)
def test_product_equals_the_integer_oracle(
    operands: tuple[torch.Tensor, torch.Tensor, int],
) -> None:
    inputs, weights, largest_input = operands

    result = _product(inputs, weights, largest_input)

    np.testing.assert_array_equal(
        result.numpy().astype(np.int64), integer_product_oracle(inputs, weights)
    )


@pytest.mark.parametrize(
    ("k", "dtype"), [(2**10, torch.float32), (2**10 + 1, torch.float64)], ids=["at", "above"]
)
def test_largest_sums_are_exact_on_both_sides_of_the_float32_limit(
    k: int, dtype: torch.dtype
) -> None:
    inputs = torch.full((1, k), -128.0)
    weights = torch.full((1, k), -128.0)

    result = _product(inputs, weights, 128)

    assert exact_dtype(weights, largest_input=128) == dtype
    assert result.item() == 128 * 128 * k


def test_sum_beyond_float32_is_exact_where_float32_would_round() -> None:
    inputs = torch.tensor([[2.0**15 - 1, 1.0]])
    weights = torch.tensor([[2.0**15 - 1, 2.0]])

    assert integer_product(inputs, weights).item() != 32767**2 + 2
    assert _product(inputs, weights, 2**15 - 1).item() == 32767**2 + 2


def test_sums_beyond_float64_are_refused() -> None:
    weights = torch.full((1, 2**9), 2.0**15)

    with pytest.raises(SpecError, match=r"2\^53"):
        exact_dtype(weights, largest_input=2**30)
