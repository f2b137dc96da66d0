import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import SpecError
from evaluators.arithmetic.psum_maxima import PsumMaxima, calibrate_exponents, largest_of
from evaluators.arithmetic.psum_plan import make_plan
from evaluators.arithmetic.psum_reference import tile_products
from tests.evaluators.arithmetic.psum_cases import Case, cases, gaussian_codes


@given(cases())
@settings(deadline=None, max_examples=200)
def test_maxima_are_those_of_the_exact_sums(case: Case) -> None:
    plan = make_plan(
        case.x.shape[1],
        tile=case.tile,
        group_size=1,
        psum_bits=8,
        exponents=case.exponents,
    )

    found = calibrate_exponents(case.x, case.w, tile=case.tile, zero_point=case.zero_point)

    running = np.zeros((len(case.x), len(case.w)), dtype=np.int64)
    tiles, sums = [], []
    for product in tile_products(case.x, case.w, plan, zero_point=case.zero_point):
        running = running + product
        tiles.append(int(abs(product).max(initial=0)))
        sums.append(int(abs(running).max(initial=0)))
    assert found == PsumMaxima(tiles=tuple(tiles), sums=tuple(sums))


@given(
    st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 2**20)), min_size=1, max_size=9),
    st.integers(1, 10),
    st.integers(2, 16),
)
@settings(deadline=None)
def test_exponents_are_the_smallest_that_do_not_clip(
    figures: list[tuple[int, int]], group_size: int, psum_bits: int
) -> None:
    own, running = (tuple(column) for column in zip(*figures, strict=True))
    maxima = PsumMaxima(tiles=own, sums=running)

    found = maxima.exponents(group_size=group_size, psum_bits=psum_bits).tolist()

    high = 2 ** (psum_bits - 1) - 1
    for step, exponent in enumerate(found):
        folds = step % group_size == 0 or step == len(figures) - 1
        largest = running[step] if folds else own[step]
        assert high * 2**exponent >= largest
        assert exponent == 0 or high * 2 ** (exponent - 1) < largest


def test_maxima_of_parts_are_those_of_the_whole() -> None:
    x, w = gaussian_codes(300, 50, seed=1), gaussian_codes(7, 50, seed=2)

    parts = largest_of(calibrate_exponents(part, w, tile=16) for part in torch.split(x, 90))

    assert parts == calibrate_exponents(x, w, tile=16)


def test_bad_arguments_are_refused() -> None:
    x, w = gaussian_codes(3, 8, seed=1), gaussian_codes(3, 8, seed=2)

    with pytest.raises(SpecError, match="tile must be at least 1, got 0"):
        calibrate_exponents(x, w, tile=0)
    with pytest.raises(SpecError, match=r"\(…, m, k\) and \(…, n, k\), got \(3, 7\) and \(3, 8\)"):
        calibrate_exponents(x[:, :7], w, tile=4)
    maxima = calibrate_exponents(x, w, tile=4)
    with pytest.raises(SpecError, match="group_size must be at least 1, got 0"):
        maxima.exponents(group_size=0, psum_bits=8)
    with pytest.raises(SpecError, match=r"psum_bits must lie in 2\.\.32, got 1"):
        maxima.exponents(group_size=1, psum_bits=1)
