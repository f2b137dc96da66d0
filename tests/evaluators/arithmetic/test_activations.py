import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from evaluators.arithmetic.activations import encoded_matmul
from evaluators.arithmetic.encoding import Encoding
from evaluators.arithmetic.products import exact_dtype, integer_matmul_oracle
from tests.evaluators.arithmetic.test_multipliers import encodings, real_values

_LEADING = [((), ()), ((3,), (3,)), ((3, 2), (3, 2)), ((2, 1), (4,)), ((), (2, 2)), ((0,), (0,))]
_WIDE = Encoding(scale=1.0, low=-(2**15), high=2**15 - 1)


def _centred(values: Tensor, encoding: Encoding) -> Tensor:
    codes = (values * encoding.scale).round() + encoding.zero
    return codes.clamp(encoding.low, encoding.high) - encoding.zero


def _product(
    first: Tensor, second: Tensor, pair: tuple[Encoding, Encoding], step: float
) -> tuple[Tensor, tuple[bool, bool]]:
    exact = exact_dtype(first.shape[-1] * pair[0].largest * pair[1].largest)
    return encoded_matmul(first, second, pair, exact=exact, step=step)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_products_of_activations_are_the_scaled_integer_product(data: st.DataObject) -> None:
    m, n, k = (data.draw(st.integers(*ends)) for ends in ((0, 5), (1, 5), (1, 200)))
    leading = data.draw(st.sampled_from(_LEADING))
    pair = data.draw(encodings()), data.draw(encodings())
    first = real_values((*leading[0], m, k), pair[0], data.draw(st.integers(0, 9)))
    second = real_values((*leading[1], n, k), pair[1], data.draw(st.integers(0, 9))).mT
    if data.draw(st.booleans()):
        second = second.contiguous()
    step = data.draw(st.sampled_from((0.3, 2.0**-24)))

    result, finite = _product(first, second, pair, step)

    sums = integer_matmul_oracle(_centred(first, pair[0]), _centred(second, pair[1]))
    assert finite == (True, True)
    assert torch.equal(result, torch.from_numpy(sums).double().float() * step)


def test_heads_are_multiplied_as_they_lie_a_few_at_a_time() -> None:
    heads = [real_values((40, 30, 4, 16), _WIDE, seed).transpose(1, 2) for seed in (1, 2)]

    result, _ = _product(heads[0], heads[1].mT, (_WIDE, _WIDE), 2.0**-20)

    a, b = (_centred(one, _WIDE).double() for one in heads)
    assert torch.equal(result, (a @ b.mT).float() * 2.0**-20)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("wide", [True, False])
def test_the_operand_without_a_code_is_told_of(value: float, wide: bool) -> None:
    encoding = _WIDE if wide else Encoding(scale=1.0, low=-8, high=7)
    first, second = torch.zeros(9, 2, 3), torch.zeros(9, 3, 4)
    first[8, 1, 2] = value

    assert _product(first, second, (encoding, encoding), 1.0)[1] == (False, True)
    assert _product(second.mT, first.mT, (encoding, encoding), 1.0)[1] == (True, False)


def test_large_values_are_finite_though_their_sum_is_not() -> None:
    first, second = torch.full((2, 2, 2), 3e38), torch.ones(2, 2, 2)

    result, finite = _product(first, second, (_WIDE, _WIDE), 1.0)

    assert finite == (True, True)
    assert torch.equal(result, torch.full((2, 2, 2), 2.0 * _WIDE.high))
