import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluators.arithmetic.parts import input_parts, join, weight_parts

_CODES = torch.arange(-(2**15), 2**15).to(torch.int16)


def test_every_input_code_is_the_sum_of_its_bytes() -> None:
    whole = sum((p.codes.int() - p.zero) << p.shift for p in input_parts(_CODES))

    assert torch.equal(torch.as_tensor(whole), _CODES.int())


@given(st.integers(1, 2**15), st.booleans())
def test_every_weight_is_the_sum_of_its_parts(largest: int, negative: bool) -> None:
    codes = _CODES[(_CODES.int().abs() <= largest)]
    codes = codes if negative or largest == 2**15 else codes[1:]

    parts = weight_parts(codes)

    whole = sum(part.codes.int() << part.shift for part in parts)
    assert torch.equal(torch.as_tensor(whole), codes.int())
    assert all(part.codes.dtype == torch.int8 and part.zero == 0 for part in parts)
    assert len(parts) <= (2 if largest < 2**14 else 3)


def test_bytes_are_a_part_by_themselves() -> None:
    codes = torch.tensor([[-128, 127]], dtype=torch.int8)

    (part,) = weight_parts(codes)

    assert part.codes is codes
    assert part.shift == 0


@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from((torch.float32, torch.int32)))
def test_joined_products_are_rounded_once(seed: int, count: int, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    drawn = rng.integers(-(2**24), 2**24, (count, 50), endpoint=True)
    shifts = [int(shift) for shift in rng.permutation(15)[:count]]
    exact = sum(
        (one << shift for one, shift in zip(drawn, shifts, strict=True)), np.zeros(50, int)
    )

    result = torch.empty(50)
    join([(s, torch.tensor(one).to(dtype)) for s, one in zip(shifts, drawn, strict=True)], result)

    np.testing.assert_array_equal(result.numpy(), exact.astype(np.float64).astype(np.float32))
