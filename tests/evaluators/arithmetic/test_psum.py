import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dse.errors import SpecError
from evaluators.arithmetic import psum
from evaluators.arithmetic.products import integer_product_oracle
from evaluators.arithmetic.psum import (
    NATIVE,
    REFERENCE,
    TORCH,
    grouped_psum_matmul,
    prepare_psum,
)
from evaluators.arithmetic.psum_maxima import calibrate_exponents
from tests.evaluators.arithmetic.psum_cases import (
    SCALAR_EXPONENTS,
    SCALAR_TILE,
    Case,
    cases,
    gaussian_codes,
    implementations,
    operands_of,
)

_ALL = pytest.mark.parametrize("implementation", implementations())


def _run(case: Case, implementation: str, **changed: int) -> Tensor:
    at = {"group_size": case.group_size, "psum_bits": case.psum_bits} | changed
    return grouped_psum_matmul(
        case.x,
        case.w,
        tile=case.tile,
        exponents=case.exponents,
        zero_point=case.zero_point,
        implementation=implementation,
        group_size=at["group_size"],
        psum_bits=at["psum_bits"],
    )


def _exact(case: Case) -> Tensor:
    centred = case.x.to(torch.int64) - case.zero_point
    return torch.from_numpy(integer_product_oracle(centred, case.w))


@given(cases())
@settings(deadline=None, max_examples=400)
def test_all_implementations_give_the_same_bits(case: Case) -> None:
    wanted = _run(case, REFERENCE)

    for implementation in implementations()[1:]:
        found = _run(case, implementation)
        assert found.dtype == torch.int32
        assert torch.equal(found, wanted), implementation


@pytest.mark.parametrize("rows", [1, 2, 59, 60, 61, 121, 128, 129, 512, 513])
def test_all_implementations_agree_whatever_blocks_rows_fall_into(rows: int) -> None:
    x, w = gaussian_codes(rows, 100, seed=1), gaussian_codes(37, 100, seed=2)
    exponents = calibrate_exponents(x, w, tile=32).exponents(group_size=2, psum_bits=8)

    found = [
        grouped_psum_matmul(
            x,
            w,
            tile=32,
            group_size=2,
            exponents=exponents,
            psum_bits=8,
            implementation=implementation,
        )
        for implementation in implementations()
    ]

    assert len(set(found[0].flatten().tolist())) > min(rows, 20)
    assert all(torch.equal(one, found[0]) for one in found[1:])


@_ALL
@pytest.mark.parametrize(
    ("group_size", "wanted"),
    [(1, -1040), (2, -1248), (3, -1296), (4, -1264), (5, -1280), (6, -1280)],
)
def test_the_scalar_example_comes_out(implementation: str, group_size: int, wanted: int) -> None:
    x, w = operands_of()

    found = grouped_psum_matmul(
        x,
        w,
        tile=SCALAR_TILE,
        group_size=group_size,
        exponents=SCALAR_EXPONENTS,
        psum_bits=8,
        implementation=implementation,
    )

    assert found.tolist() == [[wanted]]


@_ALL
@pytest.mark.parametrize(
    ("value", "code"),
    [(-21, -3), (-20, -2), (-12, -1), (-4, 0), (4, 1), (12, 2), (20, 3), (21, 3)],
)
def test_halves_round_up(implementation: str, value: int, code: int) -> None:
    one = torch.ones(1, 1, dtype=torch.int8)

    found = grouped_psum_matmul(
        one * value,
        one,
        tile=1,
        group_size=1,
        exponents=[3],
        psum_bits=8,
        implementation=implementation,
    )

    assert found.item() == code * 8


@given(cases(), st.integers(2, 31))
@settings(deadline=None, max_examples=100)
def test_units_of_one_lose_nothing_while_no_code_clips(case: Case, more: int) -> None:
    exact = _exact(case)
    plain = Case(
        x=case.x,
        w=case.w,
        tile=case.tile,
        group_size=case.group_size,
        exponents=[0] * len(case.exponents),
        psum_bits=32,
        zero_point=case.zero_point,
    )
    reach = 255 * 255 * case.x.shape[1]
    enough = min(31, reach.bit_length() + 1 + more % 4)

    for implementation in implementations():
        assert torch.equal(_run(plain, implementation).to(torch.int64), exact)
        narrow = _run(plain, implementation, psum_bits=enough)
        assert torch.equal(narrow.to(torch.int64), exact)


@given(cases())
@settings(deadline=None, max_examples=100)
def test_groups_of_all_tiles_but_the_last_are_quantized_alone(case: Case) -> None:
    tiles = len(case.exponents)
    low, high = -(2 ** (case.psum_bits - 1)), 2 ** (case.psum_bits - 1) - 1
    centred = case.x.to(torch.int64) - case.zero_point

    def code(total: Tensor, exponent: int) -> Tensor:
        rounded = torch.floor(total.double() / float(2**exponent) + 0.5).clamp(low, high)
        return rounded.to(torch.int64).mul(2**exponent)

    total = torch.zeros(len(case.x), len(case.w), dtype=torch.int64)
    for step, exponent in enumerate(case.exponents):
        cut = slice(step * case.tile, (step + 1) * case.tile)
        product = torch.from_numpy(integer_product_oracle(centred[:, cut], case.w[:, cut]))
        total = total + (product if step == tiles - 1 else code(product, exponent))
    wanted = code(total, case.exponents[-1])

    for implementation in implementations():
        for group_size in {max(1, tiles - 1), tiles, tiles + 5}:
            found = _run(case, implementation, group_size=group_size)
            assert torch.equal(found.to(torch.int64), wanted)


@given(cases())
@settings(deadline=None, max_examples=100)
def test_results_are_codes_of_the_last_unit(case: Case) -> None:
    found = _run(case, NATIVE)

    unit = 2 ** case.exponents[-1]
    assert not (found % unit).any()
    codes = found.div(unit, rounding_mode="floor")
    assert ((codes >= -(2 ** (case.psum_bits - 1))) & (codes < 2 ** (case.psum_bits - 1))).all()


@_ALL
def test_each_row_is_computed_by_itself(implementation: str) -> None:
    x, w = gaussian_codes(200, 96, seed=3), gaussian_codes(20, 96, seed=4)
    exponents = calibrate_exponents(x, w, tile=8).exponents(group_size=3, psum_bits=6)
    prepared = prepare_psum(
        w,
        tile=8,
        group_size=3,
        exponents=exponents,
        psum_bits=6,
        implementation=implementation,
    )
    order = torch.from_numpy(np.random.default_rng(0).permutation(200))

    whole = prepared(x)

    assert torch.equal(prepared(x[order]), whole[order])
    assert torch.equal(torch.cat([prepared(x[:77]), prepared(x[77:])]), whole)


def test_one_preparation_serves_other_plans_of_its_tiles() -> None:
    x, w = gaussian_codes(9, 64, seed=7), gaussian_codes(18, 64, seed=8)
    maxima = calibrate_exponents(x, w, tile=16)
    prepared = prepare_psum(w, tile=16, group_size=1, exponents=[9] * 4, psum_bits=8)

    for group_size, psum_bits in ((1, 4), (2, 6), (4, 8)):
        exponents = maxima.exponents(group_size=group_size, psum_bits=psum_bits)
        other = prepared.at(group_size=group_size, exponents=exponents, psum_bits=psum_bits)
        again = grouped_psum_matmul(
            x,
            w,
            tile=16,
            group_size=group_size,
            exponents=exponents,
            psum_bits=psum_bits,
            implementation=REFERENCE,
        )
        assert torch.equal(other(x), again)


def test_what_float32_could_round_is_computed_wider_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    psum._say_wider.cache_clear()
    # 2^23 and more, odd: a float32 with the half of the rounding has no room for it
    x = torch.full((2, 600), 127, dtype=torch.int8)
    w = torch.full((3, 600), 127, dtype=torch.int8)
    prepared = prepare_psum(
        w, tile=599, group_size=1, exponents=[0, 0], psum_bits=32, implementation=TORCH
    )
    wide = prepared.at(group_size=1, exponents=[0, 1], psum_bits=32)

    with caplog.at_level(logging.WARNING):
        found = [wide(x) for _ in range(2)]

    assert wide.implementation(x) == "torch in float64"
    assert torch.equal(found[0], torch.full((2, 3), 127 * 127 * 600, dtype=torch.int32))
    assert torch.equal(*found)
    assert [record.message.count("float64") for record in caplog.records] == [1]


@_ALL
def test_what_int32_could_not_hold_on_the_way_is_exact(implementation: str) -> None:
    x = torch.full((1, 4), 32767, dtype=torch.int16)
    w = torch.tensor([[32767, 32767, -32767, -32766]], dtype=torch.int16)

    found = grouped_psum_matmul(
        x,
        w,
        tile=2,
        group_size=1,
        exponents=[1, 0],
        psum_bits=32,
        implementation=implementation,
    )

    # clipping at 2^32 - 2 keeps the even sum of the first tile
    assert found.item() == 32767


@_ALL
def test_results_beyond_int32_are_refused(implementation: str) -> None:
    x = torch.full((1, 4), 32767, dtype=torch.int16)

    with pytest.raises(SpecError, match="results must fit 32 bits, got 4294"):
        grouped_psum_matmul(
            x,
            x,
            tile=2,
            group_size=1,
            exponents=[1, 1],
            psum_bits=32,
            implementation=implementation,
        )


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, list | tuple) else [result]:
            if isinstance(one, Tensor):
                self.size = max(self.size, one.numel() * one.element_size())
        return result


@pytest.mark.parametrize("implementation", implementations()[1:])
def test_no_temporary_is_larger_than_four_outputs(implementation: str) -> None:
    x, w = gaussian_codes(512, 384, seed=9), gaussian_codes(384, 384, seed=10)
    prepared = prepare_psum(
        w,
        tile=32,
        group_size=2,
        exponents=[9] * 12,
        psum_bits=8,
        implementation=implementation,
    )

    with _Largest() as largest:  # type: ignore[no-untyped-call]
        out = prepared(x)

    size = out.numel() * out.element_size()
    assert size <= largest.size <= 4 * size


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tile": 0}, "tile must be at least 1, got 0"),
        ({"tile": -8}, "tile must be at least 1, got -8"),
        ({"group_size": 0}, "group_size must be at least 1, got 0"),
        ({"psum_bits": 1}, "psum_bits must lie in 2..32, got 1"),
        ({"psum_bits": 33}, "psum_bits must lie in 2..32, got 33"),
        ({"exponents": [3]}, "exponents must be one per tile, 2, got 1"),
        ({"exponents": torch.tensor([3, -1])}, r"exponents must lie in 0\.\.31, got -1"),
        ({"exponents": [3, 32]}, r"exponents must lie in 0\.\.31, got 32"),
        ({"exponents": torch.tensor([3.0, 1.0])}, "exponents must be a 1-D integer tensor"),
        ({"exponents": torch.tensor([[3, 1]])}, "exponents must be a 1-D integer tensor"),
        ({"x": torch.zeros(2, 8)}, "x must be one of torch.int8, .*, got torch.float32"),
        ({"x": torch.zeros(2, 8, dtype=torch.int32)}, "x must be one of .*, got torch.int32"),
        ({"w": torch.zeros(2, 8, dtype=torch.uint8)}, "w must be one of .*, got torch.uint8"),
        ({"x": torch.zeros(2, 9, dtype=torch.int8)}, r"x must have shape \(…, 8\), got \(2, 9\)"),
        ({"x": torch.zeros(8, dtype=torch.int8)}, r"x must have shape \(…, 8\), got \(8,\)"),
        ({"w": torch.zeros(2, 0, dtype=torch.int8)}, "at least 1 element, got 0"),
        ({"implementation": "cuda"}, "implementation must be one of reference, .*, got 'cuda'"),
    ],
)
def test_bad_arguments_are_refused_by_name(changed: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "x": torch.zeros(2, 8, dtype=torch.int8),
        "w": torch.zeros(3, 8, dtype=torch.int8),
        "tile": 4,
        "group_size": 1,
        "exponents": [0, 0],
        "psum_bits": 8,
    }

    with pytest.raises(SpecError, match=message):
        grouped_psum_matmul(**(arguments | changed))  # type: ignore[arg-type]


@_ALL
@pytest.mark.parametrize("dtype", [torch.int8, torch.int16])
def test_products_side_by_side_are_those_one_by_one(
    implementation: str, dtype: torch.dtype
) -> None:
    x = torch.stack([gaussian_codes(11, 40, seed) for seed in range(3)])
    w = torch.stack([gaussian_codes(21, 40, seed) for seed in range(3, 6)]).to(dtype)

    def product(x: Tensor, w: Tensor) -> Tensor:
        return grouped_psum_matmul(
            x,
            w,
            tile=16,
            group_size=2,
            exponents=[7, 8, 8],
            psum_bits=8,
            implementation=implementation,
        )

    assert torch.equal(
        product(x, w), torch.stack([product(*pair) for pair in zip(x, w, strict=True)])
    )
