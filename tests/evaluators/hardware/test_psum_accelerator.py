"""The platform of partial sums: its arithmetic, and what holds for all its designs."""

from collections.abc import Mapping
from dataclasses import replace
from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.canonical import canon_of
from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError
from dse.knobs import BITS, KNOBS
from evaluators.hardware.accesses import DATAFLOWS
from evaluators.hardware.choices import as_choices
from evaluators.hardware.psum_accelerator import PsumAccelerator, psum_accelerator

FC = Layer(name="fc", m=4, k=20, n=6)
NARROW: dict[str, Value] = {"w_bits": 8, "a_bits": 4, "psum_bits": 8, "dataflow": "ws"}
SMALL = {"input_kib": 1, "weight_kib": 1, "sum_kib": 0.5}
PLATFORMS = [
    psum_accelerator({"profile": profile, "constants": constants, **SMALL})
    for profile, constants in (
        ("apsq", "horowitz-45"),
        ("complete", "general-45"),
        ("zigzag", "interstellar-28"),
    )
]
IDS = [str(p.params["profile"]) for p in PLATFORMS]

layers = st.builds(
    Layer,
    name=st.just(""),
    m=st.integers(1, 300),
    k=st.integers(1, 300),
    n=st.integers(1, 300),
    groups=st.integers(1, 3),
    dynamic=st.booleans(),
)


@st.composite
def costed(draw: st.DrawFn) -> tuple[NetworkShape, Design]:
    found = draw(st.lists(layers, min_size=1, max_size=4))
    names = [f"l{i}" for i in range(len(found))]
    shape = NetworkShape(
        layers=tuple(
            replace(layer, name=name, consumers=tuple(names[i + 1 : i + 3]))
            for i, (layer, name) in enumerate(zip(found, names, strict=True))
        ),
        vector_parameters=draw(st.integers(0, 1000)),
    )
    choices: dict[str, dict[str, Value]] = {
        knob: {name: draw(st.sampled_from(KNOBS[knob].choices)) for name in names}
        for knob in ("w_bits", "a_bits", "psum_bits", "psum_group")
    }
    choices["dataflow"] = dict.fromkeys(names, draw(st.sampled_from(DATAFLOWS)))
    return shape, Design(choices)


def one(platform: PsumAccelerator, shape: NetworkShape, design: Design) -> dict[str, float]:
    found = platform.cost(shape, as_choices(shape, design))
    return {name: float(column[0]) for name, column in found.items()}


def changed(design: Design, knob: str, value: Value) -> Design:
    names = design.choices[knob]
    return Design({**design.choices, knob: dict.fromkeys(names, value)})


@pytest.mark.parametrize("dataflow", ["ws", "is"])
def test_stored_sums_of_narrow_operands_are_told_with_their_tile(dataflow: str) -> None:
    platform = psum_accelerator({"pci": 16})

    told = platform.arithmetic(FC, {**NARROW, "dataflow": dataflow})

    assert told == {"tile": 16, "dataflow": dataflow}


@pytest.mark.parametrize(
    "change",
    [{"w_bits": 16}, {"a_bits": 16}, {"psum_bits": 32}, {"dataflow": "os"}],
    ids=lambda change: next(iter(change)),
)
def test_exact_sums_ask_for_nothing(change: dict[str, Value]) -> None:
    assert psum_accelerator({}).arithmetic(FC, NARROW | change) == {}


def test_one_tile_and_depthwise_layers_have_exact_sums() -> None:
    platform = psum_accelerator({})
    found = [
        Layer(name="short", k=8, n=6),
        Layer(name="depthwise", m=49, k=9, n=1, groups=32, kernel=3),
        Layer(name="grouped", m=49, k=18, n=2, groups=16, kernel=3),
    ]

    assert [bool(platform.arithmetic(layer, NARROW)) for layer in found] == [False, False, True]


def test_a_knob_left_out_stands_at_neutral() -> None:
    platform = psum_accelerator({})

    assert platform.arithmetic(FC, {"w_bits": 8, "a_bits": 8}) == {}
    assert platform.arithmetic(FC, {"psum_bits": 8}) == {}


@pytest.mark.parametrize("platform", PLATFORMS, ids=IDS)
@settings(deadline=None, max_examples=20)
@given(data=costed())
def test_parts_of_a_breakdown_make_up_the_costs(
    platform: PsumAccelerator, data: tuple[NetworkShape, Design]
) -> None:
    shape, design = data
    costs = one(platform, shape, design)

    records = platform.breakdown(shape, design)

    def total(part: str) -> float:
        return fsum(float(record.get(part, 0)) for record in records)

    assert [record["layer"] for record in records] == [*shape.names, "(other)"]
    for metric in platform.metrics:
        assert total(metric) == pytest.approx(costs[metric], rel=1e-12)
    parts = [key for key in records[0] if key.endswith("_energy_uj")]
    assert len(parts) == 10
    for record in records[:-1]:
        energy = fsum(float(record[part]) for part in parts)
        assert energy == pytest.approx(float(record["energy_uj"]), rel=1e-12)
        longest = record[f"{record['bound_by']}_cycles"]
        assert record["latency_cycles"] == longest
        assert longest == max(float(record[f"{b}_cycles"]) for b in ("compute", "sram", "dram"))


@pytest.mark.parametrize("platform", PLATFORMS, ids=IDS)
@settings(deadline=None, max_examples=20)
@given(data=costed(), alone=st.booleans())
def test_designs_cost_the_same_in_a_population_and_alone(
    platform: PsumAccelerator, data: tuple[NetworkShape, Design], alone: bool
) -> None:
    shape, design = data
    others = [changed(design, "w_bits", bits) for bits in BITS]
    rows = [as_choices(shape, d) for d in (design, *others)]
    together = {knob: np.concatenate([row[knob] for row in rows]) for knob in rows[0]}

    costs = platform.cost(shape, together)

    for place, of in enumerate((design, *others)):
        found = one(platform, shape, of)
        assert {name: float(column[place]) for name, column in costs.items()} == found


@pytest.mark.parametrize("platform", PLATFORMS, ids=IDS)
@settings(deadline=None, max_examples=20)
@given(data=costed())
def test_a_design_costs_what_its_canonical_form_does(
    platform: PsumAccelerator, data: tuple[NetworkShape, Design]
) -> None:
    shape, design = data

    form = canon_of(shape, [platform]).design(design)

    assert one(platform, shape, form) == one(platform, shape, design)


@pytest.mark.parametrize("platform", PLATFORMS, ids=IDS)
@settings(deadline=None, max_examples=20)
@given(data=costed())
def test_resident_outputs_do_not_ask_what_sums_stand_at(
    platform: PsumAccelerator, data: tuple[NetworkShape, Design]
) -> None:
    shape, design = data
    resident = changed(design, "dataflow", "os")

    costs = one(platform, shape, resident)

    for bits in KNOBS["psum_bits"].choices:
        assert one(platform, shape, changed(resident, "psum_bits", bits)) == costs
    for group in KNOBS["psum_group"].choices:
        assert one(platform, shape, changed(resident, "psum_group", group)) == costs


@pytest.mark.parametrize("platform", PLATFORMS, ids=IDS)
@pytest.mark.parametrize("knob", ["w_bits", "a_bits", "psum_bits", "psum_group"])
@settings(deadline=None, max_examples=20)
@given(data=costed())
def test_neither_wider_operands_nor_wider_sums_nor_larger_groups_save_energy(
    platform: PsumAccelerator, knob: str, data: tuple[NetworkShape, Design]
) -> None:
    shape, design = data
    # 16-bit operands keep sums whole, and whole sums know no groups: not a step of one knob alone
    whole = 32 if knob == "psum_bits" else 16
    narrow = [value for value in KNOBS[knob].choices if value != whole]
    for other in ("w_bits", "a_bits"):
        design = changed(design, other, 8)

    costs = [one(platform, shape, changed(design, knob, value)) for value in narrow]

    for metric in ("energy_uj", "latency_cycles"):
        steps = [cost[metric] for cost in costs]
        assert all(a <= b * (1 + 1e-12) for a, b in zip(steps, steps[1:], strict=False))


def test_a_group_costs_nothing_until_its_sums_do_not_fit() -> None:
    # APSQ: 4096 positions, 32 columns and 8 bits fill 256 KiB with groups of 2
    platform = psum_accelerator({"pci": 32, "pco": 32, "po": 1})
    shape = NetworkShape(layers=(Layer(name="fc", m=4096, k=4096, n=4096),))
    at: dict[str, Mapping[str, Value]] = {knob: {"fc": value} for knob, value in NARROW.items()}

    records = [
        platform.breakdown(shape, Design({**at, "a_bits": {"fc": 8}, "psum_group": {"fc": g}}))[0]
        for g in KNOBS["psum_group"].choices
    ]

    assert [r["sum_kib"] for r in records[:4]] == [128, 256, 384, 512]
    assert [r["fits"] for r in records] == ["yes", "yes", "no", "no", "no"]
    energies = [float(r["energy_uj"]) for r in records]
    assert energies[0] == energies[1] < energies[2] == energies[3] == energies[4]
    assert [r["sum_sram_energy_uj"] for r in records] == [records[0]["sum_sram_energy_uj"]] * 5


@pytest.mark.parametrize("platform", PLATFORMS, ids=IDS)
@settings(deadline=None, max_examples=20)
@given(data=costed())
def test_no_design_costs_less_than_every_tensor_moved_once(
    platform: PsumAccelerator, data: tuple[NetworkShape, Design]
) -> None:
    shape, design = data

    records = platform.breakdown(shape, design)

    dram = platform.machine.technology.dram_pj
    for layer, record in zip(shape.layers, records, strict=False):
        bits = layer.groups * (
            layer.k * layer.n * float(record["w_bits"])
            + layer.m * layer.k * float(record["a_bits"])
            + layer.m * layer.n * float(record["output_bits"])
        )
        assert float(record["energy_uj"]) >= bits * dram / 1e6
        assert float(record["latency_cycles"]) * platform.machine.dram_width >= bits


def test_the_widest_operands_and_groups_decide_the_area() -> None:
    platform = psum_accelerator({})
    shape = NetworkShape(layers=(Layer(name="a", k=64, n=8), Layer(name="b", k=64, n=8)))

    def area(w: tuple[int, int], sums: Value = 32) -> float:
        chosen: dict[str, Mapping[str, Value]] = {
            "w_bits": {"a": w[0], "b": w[1]},
            "a_bits": {"a": 8, "b": 8},
            "psum_bits": {"a": sums, "b": 32},
        }
        return one(platform, shape, Design(chosen))["area_um2"]

    buffers, units = 7500 * 640, 16 * 8 * 8
    assert area((8, 8)) == pytest.approx(buffers + units * (13.8 + 23.9 * 8 + 4.95 * 64))
    assert area((4, 8)) == area((8, 8)) > area((4, 4))
    # second-hand figure of APSQ: the reconfigurable accumulator adds 3.21 %
    assert area((8, 8), 8) == pytest.approx(1.0321 * area((8, 8)))


def test_outputs_are_as_wide_as_their_widest_reader_takes_them() -> None:
    shape = NetworkShape(
        layers=(
            Layer(name="a", k=64, n=8, consumers=("b", "c")),
            Layer(name="b", k=8, n=8),
            Layer(name="c", k=8, n=8),
        )
    )
    design = Design({"a_bits": {"a": 8, "b": 2, "c": 4}, "w_bits": {"a": 8}})

    records = psum_accelerator({}).breakdown(shape, design)

    assert [r.get("output_bits") for r in records] == [4, 2, 4, None]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"pci": 0}, "pci: .*greater than or equal to 1, got 0"),
        ({"pco": 1.5}, "pco: .*got 1.5"),
        ({"po": True}, "po: .*got True"),
        ({"sum_kib": 0}, "sum_kib: .*greater than 0, got 0"),
        ({"input_kib": float("inf")}, "input_kib: .*finite"),
        ({"profile": "eyeriss"}, "profile: .*'apsq', 'complete' or 'zigzag'.*got 'eyeriss'"),
        ({"constants": "7nm"}, "constants: .*'horowitz-45'"),
        ({"rows": 8}, "takes no parameter 'rows'; allowed: constants, profile, pci, pco, po"),
        ({"weight_kib": 0.1}, "weight_kib must hold what the array works on, 0.125 KiB"),
    ],
)
def test_parameters_that_make_no_accelerator_are_refused(
    params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        psum_accelerator(params)
