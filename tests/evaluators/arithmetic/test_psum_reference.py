"""The figures of the sheet on APSQ that need no implementation but the reference."""

import numpy as np
import pytest

from evaluators.arithmetic.psum_plan import make_plan
from evaluators.arithmetic.psum_reference import psum_reference, psum_steps, tile_products
from tests.evaluators.arithmetic.psum_cases import (
    SCALAR_EXPONENTS,
    SCALAR_TILE,
    SCALAR_TILES,
    operands_of,
)

_CODES = {
    1: [-52, -128, -115, -70, -114, -65],
    2: [-52, -107, -128, 45, -127, -78],
    3: [-52, -107, -51, -86, -44, -81],
    4: [-52, -107, -51, 45, -128, -79],
    5: [-52, -107, -51, 45, -44, -80],
    6: [-52, -107, -51, 45, -44, -80],
}
_STORED = {
    1: [-416, -1024, -1840, -1120, -1824, -1040],
    2: [-416, -1272, -2048, -1328, -2032, -1248],
    3: [-416, -1272, -2088, -1376, -2080, -1296],
    4: [-416, -1272, -2088, -1368, -2048, -1264],
    5: [-416, -1272, -2088, -1368, -2072, -1280],
    6: [-416, -1272, -2088, -1368, -2072, -1280],
}
_CLIPPED = {1: [1], 2: [2], 3: [], 4: [4], 5: [], 6: []}


@pytest.mark.parametrize("group_size", _CODES)
def test_codes_and_stored_sums_are_those_of_the_scalar_example(group_size: int) -> None:
    x, w = operands_of()
    plan = make_plan(
        x.shape[1],
        tile=SCALAR_TILE,
        group_size=group_size,
        psum_bits=8,
        exponents=SCALAR_EXPONENTS,
    )
    products = list(tile_products(x, w, plan))

    steps = list(psum_steps(iter(products), plan))

    assert [int(one.item()) for one in products] == list(SCALAR_TILES)
    assert [int(step.codes.item()) for step in steps] == _CODES[group_size]
    assert [int(step.stored.item()) for step in steps] == _STORED[group_size]
    assert [i for i, step in enumerate(steps) if step.clipped.item()] == _CLIPPED[group_size]
    assert psum_reference(x, w, plan).item() == _STORED[group_size][-1]


def test_rounding_is_half_up() -> None:
    values = np.array([[-21, -20, -12, -4, 4, 12, 20, 21]])
    plan = make_plan(1, tile=1, group_size=1, psum_bits=8, exponents=[3])

    (step,) = psum_steps(iter([values]), plan)

    assert step.codes.tolist() == [[-3, -2, -1, 0, 1, 2, 3, 3]]
