from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.design import Layer
from evaluators.hardware.accesses import DATAFLOWS, Dataflow
from evaluators.hardware.own.layers import Choice, Counts, NoRoomError, counts, machine_of
from tests.evaluators.hardware.own.definitions import buffer, constant, defined, line

SHEET = Layer(name="", m=10, k=20, n=12)
"""The example of our sheet of cost models, for 8 rows and 4 columns."""
SHEET_COUNTS = {  # weight reads, activation reads, sum reads, output writes, cycles with the last
    "ws": (960, 4800, 3840, 960, 252),
    "is": (2880, 1600, 3840, 960, 270),
    "os": (1920, 4800, 0, 960, 180),
}


def array(rows: int, columns: int, **changes: object) -> dict[str, object]:
    return {
        "array__rows": constant(rows, "PE"),
        "array__columns": constant(columns, "PE"),
        "sums": constant(16, "bit"),
        **changes,
    }


@pytest.mark.parametrize(("dataflow", "figures"), SHEET_COUNTS.items())
def test_counts_are_those_of_the_sheet(dataflow: Dataflow, figures: tuple[int, ...]) -> None:
    weights, inputs, sums, outputs, cycles = figures
    machine = machine_of(defined(**array(8, 4)))

    found = counts(machine, SHEET, Choice(dataflow=dataflow, w=4, a=8, o=8))

    assert (found.weights_read, found.activations_read) == (weights, inputs)
    assert (found.sums_read, found.sums_write) == (sums + outputs, sums + outputs)
    assert found.weights_write + found.activations_write == 2560
    assert found.dram_read + found.dram_write == 3520
    assert found.compute_cycles == cycles
    assert found.added_bits == sums


@pytest.mark.parametrize(("dataflow", "cycles"), [("ws", 629), ("is", 689), ("os", 485)])
def test_cycles_are_one_more_than_scalesims_last(dataflow: Dataflow, cycles: int) -> None:
    machine = machine_of(defined())

    found = counts(
        machine, Layer(name="", m=20, k=40, n=24), Choice(dataflow=dataflow, w=4, a=8, o=8)
    )

    assert found.compute_cycles == cycles + 1


@pytest.mark.parametrize(
    ("dataflow", "buffer_bits", "fetched"),
    [
        # k 20, n 12, m 10 on 8 x 4: weights of 960 bits pass 3 times (2 under os), inputs of
        # 1600 bits 3 times
        ("ws", (1920, 3200), (960, 1600)),
        ("ws", (300, 3198), (960, 4800)),
        ("is", (1920, 600), (960, 1600)),
        ("is", (1918, 600), (2880, 1600)),
        ("os", (1918, 3200), (960, 1600)),
        ("os", (1920, 3198), (960, 1600)),
        ("os", (1918, 3198), (1920, 1600)),
    ],
)
def test_what_does_not_fit_half_of_its_buffer_is_fetched_again(
    dataflow: Dataflow, buffer_bits: tuple[int, int], fetched: tuple[int, int]
) -> None:
    weights, activations = (buffer(bits, "bit") for bits in buffer_bits)
    machine = machine_of(
        defined(**array(8, 4, buffers__weights=weights, buffers__activations=activations))
    )

    found = counts(machine, SHEET, Choice(dataflow=dataflow, w=4, a=8, o=8))

    assert (found.weights_write, found.activations_write) == fetched
    assert found.dram_read == sum(fetched)


def test_whole_buffers_hold_twice_as_much_without_double_buffering() -> None:
    small = buffer(1600, "bit")
    halved, whole = (
        machine_of(defined(**array(8, 4, buffers__activations=small, double_buffered=double)))
        for double in (True, False)
    )
    at = Choice(dataflow="ws", w=4, a=8, o=8)

    assert counts(halved, SHEET, at).activations_write == 4800
    assert counts(whole, SHEET, at).activations_write == 1600


def test_partial_sums_without_room_go_to_dram_with_all_of_their_traffic() -> None:
    at = Choice(dataflow="ws", w=4, a=8, o=8)
    sizes = (10 * 4 * 16, 10 * 4 * 16 - 1)
    roomy, tight = (
        counts(
            machine_of(defined(**array(8, 4, buffers__sums=buffer(bits, "bit")))),
            SHEET,
            at,
        )
        for bits in sizes
    )

    assert (roomy.fits, tight.fits) == (True, False)
    assert tight.resident_bits == sizes[0]
    assert tight.dram_read - roomy.dram_read == tight.dram_write - roomy.dram_write == 3840
    assert (tight.sums_read, tight.sums_write) == (roomy.sums_read, roomy.sums_write)


def test_a_group_of_partial_sums_takes_its_room() -> None:
    machine = machine_of(defined(**array(8, 4)))
    at = Choice(dataflow="ws", w=4, a=8, o=8, p=8)

    alone, pair = (counts(machine, SHEET, replace(at, group=group)) for group in (1, 2))

    assert pair.resident_bits == 2 * alone.resident_bits == 2 * 10 * 4 * 8
    assert pair.sums_read == alone.sums_read
    assert counts(machine, SHEET, replace(at, a=16, group=2)).sum_bits == 16


def test_packed_products_shorten_the_reduction_and_serial_ones_lengthen_time() -> None:
    lines = [line(4, 4, 2), line(8, 8, 1), line(16, 16, 4, "cycle/MAC")]
    machine = machine_of(defined(**array(8, 4, throughput=lines)))

    for dataflow, packed in (("ws", 1 * 3 * 28), ("is", 1 * 3 * 30), ("os", 2 * 3 * 15)):
        flow: Dataflow = dataflow  # type: ignore[assignment]
        short = Layer(name="", m=10, k=10, n=12)
        at = Choice(dataflow=flow, w=4, a=4, o=4)
        assert counts(machine, short, at).compute_cycles == packed
        plain = counts(machine, short, replace(at, w=8)).compute_cycles
        serial = counts(machine, short, replace(at, w=16))
        assert serial.compute_cycles == 4 * plain > 4 * packed


def test_groups_run_one_after_another() -> None:
    machine = machine_of(defined())
    at = Choice(dataflow="ws", w=4, a=8, o=8)
    one, four = (
        counts(machine, Layer(name="", m=9, k=20, n=12, groups=groups), at) for groups in (1, 4)
    )

    for figure in ("compute_cycles", "weights_read", "sums_write", "dram_read", "added_bits"):
        assert getattr(four, figure) == 4 * getattr(one, figure)


def test_a_layer_is_bound_by_what_takes_longest() -> None:
    at = Choice(dataflow="ws", w=8, a=8, o=8)
    slow = buffer(bandwidth=constant(1, "bit/cycle"))
    layer = Layer(name="", m=1000, k=64, n=64)

    bound = [
        counts(machine_of(defined(**changes)), layer, at).bound_by
        for changes in (
            {"dram__bandwidth": constant(10_000, "bit/cycle")},
            {"dram__bandwidth": constant(1, "bit/cycle")},
            {"buffers__activations": slow},
        )
    ]

    assert bound == ["compute", "dram", "sram"]


def test_a_layer_that_the_buffers_cannot_hold_is_told_with_what_it_takes() -> None:
    machine = machine_of(defined(**array(8, 4, buffers__weights=buffer(100, "bit"))))

    with pytest.raises(NoRoomError, match=r"buffers\.weights has room for 50 bits, .* takes 128"):
        counts(machine, SHEET, Choice(dataflow="ws", w=4, a=8, o=8))
    assert counts(machine, SHEET, Choice(dataflow="is", w=4, a=8, o=8)).weights_read == 2880


MACHINE = machine_of(
    defined(
        **array(
            4,
            6,
            throughput=[line(4, 4, 2), line(8, 8), line(16, 16, 4, "cycle/MAC")],
            buffers__weights=buffer(1),
            buffers__activations=buffer(1),
            buffers__sums=buffer(1),
        )
    )
)
layers = st.builds(
    Layer,
    name=st.just(""),
    m=st.integers(1, 60),
    k=st.integers(1, 60),
    n=st.integers(1, 60),
    groups=st.integers(1, 3),
)


def traffic(found: Counts) -> int:
    moved = ("weights", "activations", "sums", "dram")
    return sum(getattr(found, f"{m}_{way}") for m, way in product(moved, ("read", "write")))


@settings(deadline=None)
@given(
    layer=layers,
    dataflow=st.sampled_from(DATAFLOWS),
    w=st.sampled_from((4, 8, 16)),
    a=st.sampled_from((4, 8, 16)),
    p=st.sampled_from((4, 8, None)),
)
def test_less_is_never_moved_with_wider_operands_nor_than_must_be(
    layer: Layer, dataflow: Dataflow, w: int, a: int, p: int | None
) -> None:
    at = Choice(dataflow=dataflow, w=w, a=a, o=a, p=p)
    found = counts(MACHINE, layer, at)

    for wider in (replace(at, w=16), replace(at, a=16), replace(at, p=None)):
        # packing changes how many partial sums there are, so widths are compared in one line
        if (
            MACHINE.lines[counts(MACHINE, layer, wider).line].packed
            == MACHINE.lines[found.line].packed
        ):
            assert traffic(counts(MACHINE, layer, wider)) >= traffic(found)
    weights, outputs = layer.groups * layer.k * layer.n, layer.groups * layer.m * layer.n
    assert found.dram_read >= weights * w + layer.groups * layer.m * layer.k * a
    assert found.dram_write >= outputs * at.o
    line = MACHINE.lines[found.line]
    assert found.compute_cycles * 4 * 6 * line.packed >= layer.macs * line.cycles
    assert found.cycles == max(found.compute_cycles, found.sram_cycles, found.dram_cycles)


@settings(deadline=None)
@given(layer=layers, p=st.sampled_from((4, 6, 8)), group=st.sampled_from((1, 2, "all")))
def test_output_stationary_arrays_store_no_partial_sums(
    layer: Layer, p: int, group: int | str
) -> None:
    at = Choice(dataflow="os", w=8, a=8, o=8)

    assert counts(MACHINE, layer, replace(at, p=p, group=group)) == counts(MACHINE, layer, at)
