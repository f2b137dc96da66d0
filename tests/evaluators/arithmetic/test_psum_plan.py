import numpy as np
import pytest
import torch
from hypothesis import given, settings

from evaluators.arithmetic.psum_plan import PsumPlan, count_tiles, effective_group, make_plan
from evaluators.arithmetic.psum_reference import psum_steps, tile_products
from tests.evaluators.arithmetic.psum_cases import Case, cases


def _plan(tiles: int, group_size: int) -> PsumPlan:
    return make_plan(tiles, tile=1, group_size=group_size, psum_bits=8, exponents=[0] * tiles)


def _steps(tiles: int, group_size: int) -> list[bool]:
    plan = _plan(tiles, group_size)
    return [plan.folds(step) for step in range(tiles)]


@pytest.mark.parametrize(("group_size", "folds"), [(1, 12), (2, 7), (3, 5), (4, 4)])
def test_twelve_tiles_fold_as_often_as_the_sheet_says(group_size: int, folds: int) -> None:
    assert _plan(12, group_size).fold_count == folds


def test_folds_are_counted_by_the_formula() -> None:
    for tiles in range(1, 65):
        for group_size in range(1, 9):
            more = 1 if (tiles - 1) % group_size else 0
            assert _plan(tiles, group_size).fold_count == -(-tiles // group_size) + more


def test_the_effective_group_is_the_smallest_with_the_same_steps() -> None:
    for tiles in range(1, 20):
        for group_size in range(1, 25):
            same = [g for g in range(1, 25) if _steps(tiles, g) == _steps(tiles, group_size)]
            assert effective_group(tiles, group_size) == same[0]


def test_tiles_cover_the_reduction() -> None:
    plan = make_plan(70, tile=32, group_size=1, psum_bits=8, exponents=torch.tensor([1, 2, 3]))

    assert list(plan.ends) == [(0, 32), (32, 64), (64, 70)]
    assert plan.tiles == count_tiles(70, 32) == 3
    assert plan.exponents == (1, 2, 3)


@given(cases())
@settings(deadline=None, max_examples=200)
def test_no_sum_is_larger_than_the_bound(case: Case) -> None:
    plan = make_plan(
        case.x.shape[1],
        tile=case.tile,
        group_size=case.group_size,
        psum_bits=case.psum_bits,
        exponents=case.exponents,
    )
    products = list(tile_products(case.x, case.w, plan, zero_point=case.zero_point))
    reach = [int(abs(one).max(initial=0)) for one in products]

    bound = plan.largest_sum(reach)

    stored = np.zeros((len(case.x), len(case.w)), dtype=np.int64)
    for step, (product, after) in enumerate(
        zip(products, psum_steps(iter(products), plan), strict=True)
    ):
        total = product + (stored if plan.folds(step) else 0) + (1 << plan.exponents[step] >> 1)
        assert abs(total).max(initial=0) <= bound
        assert abs(after.stored).max(initial=0) <= bound
        stored = after.stored
