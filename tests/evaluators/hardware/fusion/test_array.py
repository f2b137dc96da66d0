from itertools import product

import pytest

from dse.design import Layer
from evaluators.hardware.bitfusion import by_ratios
from evaluators.hardware.fusion.array import (
    Loops,
    composed_bits,
    loops_of,
    pass_count,
    throughput,
)

NARROW, HALF, WHOLE = (1, 2), (3, 4), (5, 6, 7, 8)
PRODUCTS = {
    (NARROW, NARROW): 16,
    (NARROW, HALF): 8,
    (NARROW, WHOLE): 4,
    (HALF, HALF): 4,
    (HALF, WHOLE): 2,
    (WHOLE, WHOLE): 1,
}


@pytest.mark.parametrize(("sides", "products"), PRODUCTS.items())
def test_a_unit_forms_as_many_products_as_the_published_table_says(
    sides: tuple[tuple[int, ...], tuple[int, ...]], products: int
) -> None:
    for a_bits, w_bits in product(*sides):
        assert throughput(a_bits, w_bits) == throughput(w_bits, a_bits) == products
        assert products == (8 // max(a_bits, 2)) * (8 // max(w_bits, 2))
        assert pass_count(a_bits, w_bits) == 1


@pytest.mark.parametrize(("a_bits", "w_bits", "rate"), [(16, 8, 1 / 2), (16, 16, 1 / 4)])
def test_sixteen_bits_run_over_time(a_bits: int, w_bits: int, rate: float) -> None:
    assert throughput(a_bits, w_bits) / pass_count(a_bits, w_bits) == rate


def test_throughput_against_sixteen_bits_is_that_of_the_ratio_table() -> None:
    ratios = by_ratios({}).ratios

    for w_bits, a_bits in product((2, 3, 4, 5, 6, 7, 8, 16), repeat=2):
        rate = throughput(a_bits, w_bits) / pass_count(a_bits, w_bits)
        assert rate / (1 / 4) == ratios[w_bits, a_bits]


def test_bricks_of_signed_top_digits_make_every_product_of_bytes() -> None:
    """Four 2-bit digits an operand, the top one signed: 16 bricks, shifted and added."""
    digits = {
        x: [x // 4**i if i == 3 else x // 4**i % 4 for i in range(4)] for x in range(-128, 128)
    }

    for x, y in product(digits, repeat=2):
        bricks = (
            p * q * 4 ** (i + j)
            for (i, p), (j, q) in product(enumerate(digits[x]), enumerate(digits[y]))
        )
        assert sum(bricks) == x * y
    assert {d for low in digits.values() for d in low[:3]} == {0, 1, 2, 3}
    assert {low[3] for low in digits.values()} == {-2, -1, 0, 1}


@pytest.mark.parametrize(("bits", "composed"), [(1, 2), (2, 2), (3, 4), (5, 8), (8, 8), (16, 16)])
def test_bricks_compose_powers_of_two(bits: int, composed: int) -> None:
    assert composed_bits(bits) == composed


@pytest.mark.parametrize(
    ("layer", "first", "loops", "repeats"),
    [
        (Layer(name="fc", m=1, k=96, n=10), True, Loops(batch=4, inputs=96, outputs=10), 1),
        (Layer(name="rows", m=50, k=96, n=10), False, Loops(batch=200, inputs=96, outputs=10), 1),
        (
            Layer(name="conv", m=196, k=27, n=8, kernel=3, stride=2),
            False,
            Loops(batch=4, inputs=3, outputs=8, side=14, kernel=3, stride=2),
            1,
        ),
        (
            Layer(name="stem", m=196, k=27, n=8, kernel=3),
            True,
            Loops(batch=4, inputs=3, outputs=8, side=14, kernel=3, unrolled=True),
            1,
        ),
        (
            Layer(name="skip", m=49, k=16, n=32, stride=2),
            True,
            Loops(batch=4, inputs=16, outputs=32, side=7, stride=2),
            1,
        ),
        (
            Layer(name="depthwise", m=49, k=9, n=1, groups=32, kernel=3),
            False,
            Loops(batch=4, inputs=1, outputs=1, side=7, kernel=3),
            32,
        ),
        (
            Layer(name="oblong", m=50, k=27, n=8, kernel=3),
            True,
            Loops(batch=200, inputs=27, outputs=8),
            1,
        ),
        (
            Layer(name="qk", m=49, k=16, n=49, groups=4, dynamic=True),
            False,
            Loops(batch=49, inputs=16, outputs=49),
            16,
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Layer) else "",
)
def test_a_layer_becomes_these_loops_for_a_batch_of_four(
    layer: Layer, first: bool, loops: Loops, repeats: int
) -> None:
    assert loops_of(layer, batch=4, first=first) == (loops, repeats)
    assert repeats * loops.macs == 4 * layer.macs
