from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.hardware.fusion.array import EventEnergy, FusionArray, Loops, throughput
from evaluators.hardware.fusion.schedule import Schedule
from evaluators.hardware.fusion.tiling import NoTilingError, schedule
from tests.evaluators.hardware.fusion import simulator
from tests.evaluators.hardware.fusion.arrays import DEFAULT, convolution, linear, with_link

WIDTHS = (1, 2, 3, 4, 5, 8, 16)

# layer, batch 16, no unrolling; bits; cycles, stalls, DRAM bits read and written
WIDE_ALEXNET = [
    (convolution(5, 27, 96, 256, 16), 4, 5_018_849, 1_249, 671_219_712, 205_520_896),
    (convolution(3, 13, 512, 384, 16), 4, 3_248_129, 538_625, 469_499_904, 154_140_672),
    (convolution(3, 13, 384, 256, 16), 4, 1_624_065, 269_313, 234_749_952, 77_070_336),
    (linear(18432, 8192, 16), 4, 3_545_090, 2_365_442, 642_908_160, 37_748_736),
    (linear(8192, 8192, 16), 4, 1_575_596, 1_051_308, 285_736_960, 16_777_216),
    (linear(8192, 1000, 16), 8, 398_679, 136_535, 72_351_744, 4_194_304),
]

# a, w; cycles, stalls, DRAM bits read and written, compute cycles
SMALL = [
    (8, 8, 128_246, 1_238, 10_186_752, 7_225_344, 127_008),
    (8, 4, 64_508, 1_004, 9_965_568, 2_408_448, 63_504),
    (4, 4, 45_697, 3_361, 6_365_184, 2_408_448, 42_336),
    (4, 2, 32_107, 10_939, 3_756_032, 2_408_448, 21_168),
    (2, 2, 29_078, 7_910, 3_174_400, 2_408_448, 21_168),
]

LINEAR = [
    (8, 8, 789_164, 264_876),
    (8, 4, 439_638, 177_494),
    (4, 4, 394_583, 263_511),
    (4, 2, 219_820, 154_284),
    (2, 2, 197_291, 164_523),
    (4, 1, 132_438, 66_902),
]

# a, w, batch; cycles, stalls of the eight products of MOHAQ's SRU network
SRU = [
    (8, 8, 1, 239_400, 228_404),
    (4, 4, 1, 127_645, 124_781),
    (4, 2, 1, 68_764, 67_280),
    (2, 2, 1, 76_731, 75_895),
    (8, 8, 16, 335_907, 159_971),
    (4, 4, 16, 209_269, 163_445),
    (4, 2, 16, 150_388, 126_644),
    (2, 2, 16, 157_544, 144_168),
]
SRU_PRODUCTS = [(23, 3300), *[(256, 3300)] * 3, *[(1100, 256)] * 3, (1100, 1904)]


def test_a_linear_layer_costs_what_bitfusions_simulator_says() -> None:
    found = schedule(linear(4096, 4096, 16), DEFAULT, 4, 4)

    assert (found.cycles, found.stall_cycles) == (394_583, 263_511)
    assert (found.compute_cycles, found.latency_cycles) == (131_072, 2_134 + 86)
    assert found.transfer_cycles == 392_363
    assert (found.wbuf_read, found.wbuf_write) == (1_073_741_824, 67_108_864)
    assert (found.ibuf_read, found.ibuf_write) == (1_073_741_824, 262_144)
    assert (found.obuf_read, found.obuf_write) == (8_388_608, 8_388_608)
    assert (found.dram_read, found.dram_write) == (71_565_312, 4_194_304)
    assert (found.tile, found.order) == ((16, 1, 2048, 32), ("inputs", "outputs"))
    energy = {part: figure / 1e6 for part, figure in found.energy_pj(DEFAULT.energy).items()}
    published = dict(core=30.816, wbuf=24.882, ibuf=63.890, obuf=0.891, dram=1_136.394)
    assert energy == pytest.approx(published, abs=5e-4)
    assert sum(energy.values()) == pytest.approx(1_256.873, abs=5e-4)


@pytest.mark.parametrize(("loops", "bits", "cycles", "stalls", "read", "written"), WIDE_ALEXNET)
def test_wide_alexnet_costs_what_bitfusions_simulator_published(
    loops: Loops, bits: int, cycles: int, stalls: int, read: int, written: int
) -> None:
    found = schedule(loops, DEFAULT, bits, bits)

    assert (found.cycles, found.stall_cycles) == (cycles, stalls)
    assert (found.dram_read, found.dram_write) == (read, written)


@pytest.mark.parametrize(("a", "w", "cycles", "stalls", "read", "written", "compute"), SMALL)
def test_a_small_convolution_costs_what_was_calculated(
    a: int, w: int, cycles: int, stalls: int, read: int, written: int, compute: int
) -> None:
    found = schedule(convolution(3, 14, 96, 80, 4), DEFAULT, a, w)

    assert (found.cycles, found.stall_cycles, found.compute_cycles) == (cycles, stalls, compute)
    assert (found.dram_read, found.dram_write) == (read, written)


def test_a_first_layer_costs_what_was_calculated() -> None:
    first = Loops(batch=2, inputs=3, outputs=24, side=14, kernel=3, stride=2, unrolled=True)

    found = schedule(first, DEFAULT, 8, 8)

    assert (found.cycles, found.stall_cycles, found.compute_cycles) == (4_655, 3_871, 784)
    assert (found.dram_read, found.dram_write) == (492_224, 401_408)


@pytest.mark.parametrize(("a", "w", "cycles", "stalls"), LINEAR)
def test_a_linear_layer_costs_what_was_calculated(
    a: int, w: int, cycles: int, stalls: int
) -> None:
    found = schedule(linear(4096, 4096, 16), DEFAULT, a, w)

    assert (found.cycles, found.stall_cycles) == (cycles, stalls)


@pytest.mark.parametrize(("a", "w", "batch", "cycles", "stalls"), SRU)
def test_the_network_of_mohaq_costs_what_was_calculated(
    a: int, w: int, batch: int, cycles: int, stalls: int
) -> None:
    found = [schedule(linear(k, n, batch), DEFAULT, a, w) for k, n in SRU_PRODUCTS]

    assert sum(part.cycles for part in found) == cycles
    assert sum(part.stall_cycles for part in found) == stalls


def test_fewer_bits_can_take_longer() -> None:
    """Weight tiles pad the reduction to a multiple of rows times throughput."""
    cycles = [schedule(linear(48, 32, 2), DEFAULT, a, 2).cycles for a in (4, 2)]

    assert cycles == [69, 110]


def test_large_linear_layers_are_two_thirds_stall_and_nine_tenths_dram() -> None:
    found = schedule(linear(8192, 8192, 16), DEFAULT, 4, 4)
    energy = found.energy_pj(DEFAULT.energy)

    assert found.stall_cycles / found.cycles == pytest.approx(2 / 3, abs=0.01)
    assert energy["dram"] / sum(energy.values()) == pytest.approx(0.9, abs=0.01)
    assert found.bound_by == "dram"


def test_layers_are_bound_by_what_takes_longest() -> None:
    bound = [
        schedule(loops, DEFAULT, bits, bits).bound_by
        for loops, bits in (
            (convolution(5, 27, 96, 256, 16), 4),
            (linear(4096, 4096, 1), 8),
            (linear(48, 32, 2), 2),
        )
    ]

    assert bound == ["compute", "dram", "latency"]


energies = st.floats(min_value=0.01, max_value=20.0).map(lambda value: round(value, 3))


@st.composite
def arrays(draw: st.DrawFn) -> FusionArray:
    sizes = st.integers(min_value=200, max_value=15_000)
    energy = EventEnergy(
        core=draw(energies),
        wbuf_read=draw(energies),
        wbuf_write=draw(energies),
        ibuf_read=draw(energies),
        ibuf_write=draw(energies),
        obuf_read=draw(energies),
        obuf_write=draw(energies),
        dram=draw(energies),
    )
    return FusionArray(
        rows=draw(st.integers(2, 9)),
        columns=draw(st.integers(1, 9)),
        wbuf_bits=draw(sizes),
        ibuf_bits=draw(sizes),
        obuf_bits=draw(sizes),
        dram_bits_per_cycle=draw(st.integers(1, 300)),
        energy=energy,
    )


@st.composite
def layers(draw: st.DrawFn) -> Loops:
    kernel = draw(st.sampled_from((1, 1, 2, 3)))
    return Loops(
        batch=draw(st.integers(1, 5)),
        inputs=draw(st.integers(1, 20)),
        outputs=draw(st.integers(1, 20)),
        side=draw(st.integers(1, 5)),
        kernel=kernel,
        stride=draw(st.integers(1, 3)),
        unrolled=kernel > 1 and draw(st.booleans()),
    )


def found_or_none(loops: Loops, array: FusionArray, a: int, w: int) -> Schedule | None:
    try:
        return schedule(loops, array, a, w)
    except NoTilingError:
        return None


@settings(deadline=None, max_examples=25)
@given(loops=layers(), array=arrays(), a=st.sampled_from(WIDTHS), w=st.sampled_from(WIDTHS))
def test_the_schedule_is_the_best_of_all_tiles_and_all_120_orders(
    loops: Loops, array: FusionArray, a: int, w: int
) -> None:
    expected = simulator.best(loops, array, a, w)

    found = found_or_none(loops, array, a, w)

    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.cycles == expected.cycles
        assert sum(found.energy_pj(array.energy).values()) == expected.energy
        assert (found.dram_read, found.dram_write) == (expected.dram_read, expected.dram_write)
        assert found.obuf_read == found.obuf_write == expected.obuf
        assert found.wbuf_read + found.wbuf_write == expected.wbuf
        assert found.ibuf_read + found.ibuf_write == expected.ibuf


@settings(deadline=None, max_examples=100)
@given(
    loops=layers(), array=arrays(), a=st.sampled_from(WIDTHS[:-1]), w=st.sampled_from(WIDTHS[:-1])
)
def test_no_schedule_is_better_than_what_must_be_done(
    loops: Loops, array: FusionArray, a: int, w: int
) -> None:
    found = found_or_none(loops, array, a, w)
    if found is None:
        return
    outputs = loops.batch * loops.side**2 * loops.outputs
    weights = loops.kernel**2 * loops.inputs * loops.outputs * w

    units = array.rows * array.columns * throughput(a, w)
    assert found.compute_cycles * units >= loops.macs
    assert found.cycles * array.dram_bits_per_cycle >= found.dram_read + found.dram_write
    assert found.dram_write >= 32 * outputs
    assert found.dram_read >= weights + 32 * outputs


@settings(deadline=None, max_examples=60)
@given(
    loops=layers(),
    array=arrays(),
    a=st.sampled_from(WIDTHS),
    w=st.sampled_from(WIDTHS),
    wider=st.integers(1, 300),
)
def test_a_wider_link_never_takes_longer(
    loops: Loops, array: FusionArray, a: int, w: int, wider: int
) -> None:
    narrow = found_or_none(loops, array, a, w)
    if narrow is None:
        return

    link = array.dram_bits_per_cycle + wider
    wide = schedule(loops, replace(array, dram_bits_per_cycle=link), a, w)

    assert wide.cycles <= narrow.cycles


@settings(deadline=None)
@given(
    k=st.integers(2, 10_000),
    m=st.integers(1, 10_000),
    n=st.integers(1, 10_000),
    a=st.sampled_from(WIDTHS),
    w=st.sampled_from(WIDTHS),
)
def test_sums_that_stay_always_move_the_fewest_bits(
    k: int, m: int, n: int, a: int, w: int
) -> None:
    """Why the model counts no other stationarity: of the simulator's three, by minimum bits."""
    input_stationary = k * m * (a + n * (w + 32))
    output_stationary = m * n * (32 + k * (a + w))
    weight_stationary = k * n * (w + m * (a + 32))

    assert output_stationary <= min(input_stationary, weight_stationary)


@pytest.mark.parametrize("link", [64, 192, 4096])
def test_narrowing_all_operands_fourfold_gains_one_to_sixteen(link: int) -> None:
    array = with_link(link)
    for loops in (convolution(3, 14, 96, 80, 4), linear(4096, 4096, 16), linear(256, 3300, 1)):
        wide, narrow = (schedule(loops, array, bits, bits).cycles for bits in (8, 2))
        assert 1 < wide / narrow <= 16


def test_a_layer_of_which_no_tile_fits_is_refused_with_what_it_takes() -> None:
    small = replace(DEFAULT, wbuf_bits=4096, obuf_bits=1024)

    with pytest.raises(NoTilingError) as told:
        schedule(convolution(3, 14, 96, 80, 4), small, 8, 8)

    assert "WBUF of 4096 bits, of which half holds a tile, and the smallest takes 4096" in str(
        told.value
    )
    assert "OBUF of 1024 bits" in str(told.value)
    assert "IBUF" not in str(told.value)


def test_counts_that_64_bits_cannot_hold_are_refused() -> None:
    with pytest.raises(NoTilingError, match="64-bit"):
        schedule(linear(2**40, 2**20, 1), DEFAULT, 8, 8)
