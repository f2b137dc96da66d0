"""Access counts against a loop nest and against figures of ZigZag's and SCALE-Sim's forms."""

from dataclasses import asdict

import numpy as np
import pytest

from dse.design import Layer
from evaluators.hardware.accesses import (
    DATAFLOWS,
    Accesses,
    Array,
    Dataflow,
    Product,
    accesses,
    parallel_cycles,
    partial_sums,
    product_of,
    resident_sums,
    systolic_cycles,
)
from tests.evaluators.hardware.loop_nest import run

SHEET = Product(m=10, n=12, k=20, inputs=200, sums=3)
SHEET_ARRAYS: dict[Dataflow, Array] = {
    "ws": Array(pci=8, pco=4, po=1),
    "is": Array(pci=8, pco=1, po=4),
    "os": Array(pci=1, pco=4, po=8),
}


def counted(product: Product, dataflow: Dataflow, array: Array) -> Accesses:
    return accesses(product, dataflow, array, count="tight", unique=False)


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_closed_forms_are_those_of_a_loop_nest(dataflow: Dataflow) -> None:
    rng = np.random.default_rng(8)
    for _ in range(300):
        m, k, n, pci, pco, po = (int(size) for size in rng.integers(1, 8, 6))
        array = Array(pci=pci, pco=pco, po=po)
        product = product_of(Layer(name="", m=m, k=k, n=n), pci)
        inputs, weights = rng.integers(-9, 9, (m, k)), rng.integers(-9, 9, (k, n))

        found, moved, most = run(inputs, weights, dataflow, array)

        told = asdict(counted(product, dataflow, array))
        assert (found == inputs @ weights).all()
        names = ("weight_reads", "input_reads", "sum_reads", "sum_writes", "output_writes")
        assert {name: moved[name] for name in names} == {name: told[name] for name in names}
        assert moved["steps"] == parallel_cycles(product, array)
        if k > pci and dataflow != "os":
            sides = (m, min(n, pco)) if dataflow == "ws" else (min(m, po), n)
            assert most == sides[0] * sides[1] <= resident_sums(product, dataflow, array)


@pytest.mark.parametrize(
    ("dataflow", "weights", "inputs", "sums"),
    [("ws", 960, 4800, 3840), ("is", 2880, 1600, 3840), ("os", 1920, 4800, 0)],
)
def test_bits_of_the_example_of_the_sheet(
    dataflow: Dataflow, weights: int, inputs: int, sums: int
) -> None:
    # M 10, N 12, K 20, R 8, C 4, w 4, a 8, p 16, o 8
    tight = counted(SHEET, dataflow, SHEET_ARRAYS[dataflow])

    assert (tight.weight_reads * 4, tight.input_reads * 8) == (weights, inputs)
    assert tight.sum_reads * 16 == tight.sum_writes * 16 == sums
    assert tight.output_writes * 8 == 960
    assert tight.weight_fills * 4 + tight.input_fills * 8 == 2560
    assert tight.output_drains * 8 == 960


@pytest.mark.parametrize(
    ("dataflow", "sums", "written"), [("ws", 5760, 0), ("is", 5760, 0), ("os", 0, 960)]
)
def test_sums_counted_as_zigzag_counts_them(dataflow: Dataflow, sums: int, written: int) -> None:
    told = accesses(SHEET, dataflow, SHEET_ARRAYS[dataflow], count="zigzag", unique=False)

    assert told.sum_reads * 16 == told.sum_writes * 16 == sums
    assert told.output_writes * 8 == written


@pytest.mark.parametrize(
    ("product", "side", "cycles"),
    [
        (SHEET, None, {"ws": 251, "is": 269, "os": 179}),
        (Product(m=20, n=24, k=40, inputs=800, sums=5), 8, {"ws": 629, "is": 689, "os": 485}),
    ],
)
def test_systolic_cycles_are_those_that_scale_sim_prints(
    product: Product, side: int | None, cycles: dict[Dataflow, int]
) -> None:
    for dataflow, printed in cycles.items():
        array = SHEET_ARRAYS[dataflow] if side is None else Array(pci=side, pco=side, po=side)

        # SCALE-Sim prints the number of the last cycle, counted from 0
        assert systolic_cycles(product, dataflow, array) - 1 == printed


def test_the_second_example_of_the_sheet_on_a_square_array() -> None:
    product = Product(m=20, n=24, k=40, inputs=800, sums=5)
    array = Array(pci=8, pco=8, po=8)

    ws, inp, out = (counted(product, flow, array) for flow in DATAFLOWS)

    assert (ws.weight_reads * 4, ws.input_reads * 8, ws.sum_reads * 16) == (3840, 19200, 30720)
    assert (inp.weight_reads * 4, inp.input_reads * 8) == (11520, 6400)
    assert (out.weight_reads * 4, out.input_reads * 8, out.output_writes * 8) == (
        11520,
        19200,
        3840,
    )


def test_transposing_a_product_swaps_weights_with_inputs_and_ws_with_is() -> None:
    array = Array(pci=8, pco=4, po=4)
    one = Product(m=10, n=12, k=20, inputs=200, sums=3)
    other = Product(m=12, n=10, k=20, inputs=240, sums=3)

    ws, inp = counted(one, "ws", array), counted(other, "is", array)

    assert (ws.weight_reads, ws.input_reads) == (inp.input_reads, inp.weight_reads)
    assert (ws.sum_reads, ws.output_writes) == (inp.sum_reads, inp.output_writes)
    assert systolic_cycles(one, "ws", array) == systolic_cycles(other, "is", array)


def test_an_array_larger_than_the_layer_is_filled_once() -> None:
    product = product_of(Layer(name="", m=10, k=20, n=12), 64)

    for dataflow in DATAFLOWS:
        told = counted(product, dataflow, Array(pci=64, pco=64, po=64))
        assert (told.weight_reads, told.input_reads) == (240, 200)
        assert (told.sum_reads, told.sum_writes, told.output_writes) == (0, 0, 120)


def test_a_depthwise_window_is_one_sum_and_a_grouped_one_is_not() -> None:
    depthwise = Layer(name="", m=49, k=9, n=1, groups=32, kernel=3)
    grouped = Layer(name="", m=49, k=18, n=2, groups=16, kernel=3)

    assert (partial_sums(depthwise, 8), partial_sums(grouped, 8)) == (1, 3)


def test_a_window_that_is_not_square_is_told() -> None:
    along = Layer(name="x", m=4, k=3, n=1, groups=8, kernel=3, window=3)
    grouped = Layer(name="x", m=4, k=9, n=1, groups=8, kernel=3, window=3)

    assert (partial_sums(along, 2), partial_sums(grouped, 2)) == (1, 5)


def test_overlapping_windows_are_read_once_where_inputs_stay() -> None:
    conv = product_of(Layer(name="", m=64, k=18, n=4, kernel=3, input_elements=128), 8)
    array = Array(pci=8, pco=8, po=8)

    once = accesses(conv, "is", array, count="tight", unique=True)
    columns = accesses(conv, "is", array, count="tight", unique=False)

    assert (once.input_reads, columns.input_reads) == (128, 64 * 18)
