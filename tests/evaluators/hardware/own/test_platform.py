import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pytest

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.metrics import METRICS
from dse.ports import IntArray
from evaluators.hardware.own.files import read_definition
from evaluators.hardware.own.platform import OwnPlatform, own_platform
from tests.evaluators.hardware.mohaq import SHAPE
from tests.evaluators.hardware.own.definitions import EXAMPLES, buffer, constant, line, made

PLATFORMS = [
    *(own_platform(read_definition(path)) for path in sorted(EXAMPLES.glob("*.yaml"))),
    made(
        name="all-knobs",
        dataflow=["ws", "is", "os"],
        throughput=[line(4, 4, 2), line(8, 8), line(16, 16, 4, "cycle/MAC")],
        knobs={"psum_bits": [4, 6, 8, 16, 32], "psum_group": [1, 2, 3, 4, "all"]},
        buffers__sums=buffer(1),
        array__adder=constant(0.1, "pJ/bit"),
    ),
]
EVERYTHING = PLATFORMS[-1]
BUFFERS = ("weights", "activations", "sums")
MIXED = NetworkShape(
    layers=(
        Layer(name="stem", m=196, k=27, n=24, kernel=3, input_elements=675, consumers=("qk",)),
        Layer(name="depthwise", m=196, k=9, n=1, groups=24, kernel=3, consumers=("rows", "fc")),
        Layer(name="rows", m=49, k=100, n=64),
        Layer(name="qk", m=49, k=16, n=49, groups=4, dynamic=True),
        Layer(name="fc", k=64, n=10),
    ),
    vector_parameters=100,
    elementwise_operations=1000,
)


def random_choices(platform: OwnPlatform, shape: NetworkShape, n: int) -> dict[str, IntArray]:
    rng, found = np.random.default_rng(8), {}
    for knob, values in platform.knobs.items():
        allowed = [KNOBS[knob].choices.index(value) for value in values]
        columns = 1 if KNOBS[knob].scope == "design" else len(shape.layers)
        picked = rng.choice(allowed, size=(n, columns))
        found[knob] = np.ascontiguousarray(np.broadcast_to(picked, (n, len(shape.layers))))
    return found


def design_at(shape: NetworkShape, choices: dict[str, IntArray], row: int) -> Design:
    return Design(
        {
            knob: {
                name: KNOBS[knob].choices[index]
                for name, index in zip(shape.names, indices[row], strict=True)
            }
            for knob, indices in choices.items()
        }
    )


def uniform(shape: NetworkShape, **values: int | str) -> Design:
    return Design({knob: dict.fromkeys(shape.names, value) for knob, value in values.items()})


def one(platform: OwnPlatform, shape: NetworkShape, given: Design) -> dict[str, float]:
    choices = {
        knob: np.array([[KNOBS[knob].choices.index(given.value(knob, n)) for n in shape.names]])
        for knob in platform.knobs
    }
    return {name: float(column[0]) for name, column in platform.cost(shape, choices).items()}


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
@pytest.mark.parametrize("shape", [SHAPE, MIXED], ids=["sru", "mixed"])
def test_breakdowns_add_up_to_costs(platform: OwnPlatform, shape: NetworkShape) -> None:
    choices = random_choices(platform, shape, 15)
    costs = platform.cost(shape, choices)
    for row in range(15):
        records = platform.breakdown(shape, design_at(shape, choices, row))

        def total(figure: str, parts: list[dict[str, float | str]] = records) -> float:
            return sum(float(part[figure]) for part in parts if figure in part)

        assert [part["layer"] for part in records] == [*shape.names, "(other)"]
        for metric in platform.metrics:
            if metric != "speedup":
                assert total(metric) == pytest.approx(costs[metric][row], rel=1e-12)
        speedup = total("reference_cycles") / total("latency_cycles")
        assert speedup == pytest.approx(costs["speedup"][row], rel=1e-12)
        for part in records[:-1]:
            energies = (float(v) for name, v in part.items() if name.endswith("_energy_uj"))
            assert sum(energies) == pytest.approx(float(part["energy_uj"]), rel=1e-12)
            bounds = {b: float(part[f"{b}_cycles"]) for b in ("compute", "sram", "dram")}
            assert part["latency_cycles"] == max(bounds.values()) == bounds[str(part["bound_by"])]
            assert 0 < float(part["utilization"]) <= 1


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_a_design_costs_the_same_alone_and_among_a_hundred(platform: OwnPlatform) -> None:
    choices = random_choices(platform, MIXED, 100)

    together = platform.cost(MIXED, choices)

    assert set(together) == set(platform.metrics) <= set(METRICS)
    for row in range(10):
        alone = platform.cost(MIXED, {k: v[row : row + 1] for k, v in choices.items()})
        for name in platform.metrics:
            assert together[name].dtype == np.float64
            assert together[name].shape == (100,)
            assert alone[name][0] == together[name][row]


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_no_designs_cost_nothing(platform: OwnPlatform) -> None:
    none = {k: v[:0] for k, v in random_choices(platform, SHAPE, 1).items()}

    assert {len(column) for column in platform.cost(SHAPE, none).values()} == {0}


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_designs_that_swap_equal_layers_tie_to_the_last_bit(platform: OwnPlatform) -> None:
    swapped = []
    for name in ("L1", "L2", "L3"):
        design = uniform(SHAPE, w_bits=8, a_bits=8).to_json()
        design["w_bits"][name] = 2
        swapped.append(one(platform, SHAPE, Design(design)))

    assert swapped[0] == swapped[1] == swapped[2]


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
def test_energy_never_grows_with_narrower_operands_in_one_line_of_the_table(
    platform: OwnPlatform,
) -> None:
    for wide, narrow in ((8, 7), (7, 6), (6, 5)):
        before = one(platform, SHAPE, uniform(SHAPE, w_bits=wide, a_bits=wide))
        for changes in ({"w_bits": narrow}, {"a_bits": narrow}):
            values = {"w_bits": wide, "a_bits": wide} | changes
            after = one(platform, SHAPE, uniform(SHAPE, **values))
            assert after["energy_uj"] <= before["energy_uj"]
            assert after["latency_cycles"] <= before["latency_cycles"]
            assert after["memory_mib"] <= before["memory_mib"]


def test_bit_serial_time_is_in_proportion_to_width() -> None:
    stripes = next(p for p in PLATFORMS if p.name == "stripes-like")

    gains = {
        a: one(stripes, SHAPE, uniform(SHAPE, w_bits=16, a_bits=a))["speedup"]
        for a in (16, 8, 4, 2)
    }

    assert gains == {16: 1, 8: 2, 4: 4, 2: 8}


def test_outputs_are_as_wide_as_their_widest_reader_reads_them() -> None:
    design = uniform(MIXED, w_bits=8, a_bits=4).to_json()
    design["a_bits"] |= {"fc": 8, "qk": 6}

    records = EVERYTHING.breakdown(MIXED, Design(design))

    assert [part["output_bits"] for part in records[:-1]] == [6, 8, 4, 6, 8]


def test_partial_sums_cost_less_the_narrower_and_more_the_larger_their_group() -> None:
    figures = [
        one(EVERYTHING, MIXED, uniform(MIXED, w_bits=8, a_bits=8, psum_bits=p, psum_group=g))
        for p, g in ((4, 1), (8, 1), (16, 1), (32, 1))
    ]
    groups = [
        one(EVERYTHING, MIXED, uniform(MIXED, w_bits=8, a_bits=8, psum_bits=8, psum_group=g))
        for g in (1, 2, 4, "all")
    ]

    energies = [f["energy_uj"] for f in figures]
    assert energies == sorted(energies)
    assert len(set(energies)) == 4
    grown = [g["energy_uj"] for g in groups]
    assert grown == sorted(grown)
    assert grown[0] < grown[-1]


def test_output_stationary_designs_ignore_the_knobs_of_partial_sums() -> None:
    plain = uniform(MIXED, w_bits=8, a_bits=8, dataflow="os")
    narrow = uniform(MIXED, w_bits=8, a_bits=8, dataflow="os", psum_bits=4, psum_group="all")

    assert one(EVERYTHING, MIXED, plain) == one(EVERYTHING, MIXED, narrow)
    assert EVERYTHING.breakdown(MIXED, plain) == EVERYTHING.breakdown(MIXED, narrow)


def test_arithmetic_is_asked_for_where_partial_sums_are_rounded() -> None:
    layer = MIXED.layers[2]
    at: dict[str, Value] = {
        "w_bits": 8,
        "a_bits": 8,
        "psum_bits": 8,
        "psum_group": 2,
        "dataflow": "is",
    }

    assert EVERYTHING.arithmetic(layer, at) == {"tile": 8, "dataflow": "is"}
    assert EVERYTHING.arithmetic(layer, {**at, "w_bits": 4, "a_bits": 4})["tile"] == 16
    others: list[dict[str, Value]] = [{"psum_bits": 32}, {"dataflow": "os"}, {"w_bits": 16}]
    for exact in others:
        assert EVERYTHING.arithmetic(layer, {**at, **exact}) == {}
    assert EVERYTHING.arithmetic(MIXED.layers[1], at) == {}
    assert made().arithmetic(layer, at) == {}


def test_constants_are_those_of_the_file_as_they_were_given() -> None:
    tpu = next(p for p in PLATFORMS if p.name == "tpu-like")
    told = {str(c["name"]): c for c in tpu.constants}

    assert told["buffers.sums.read"]["value"] == 416.16
    assert told["buffers.sums.read"]["unit"] == "pJ/2048bit"
    assert told["throughput.w8a8.energy"]["source"] == "ZigZag inputs/hardware/tpu_like.yaml"
    assert tpu.prices.bits_pj[0] == pytest.approx(0.2032, abs=5e-5)
    assert json.loads(json.dumps(tpu.constants)) == tpu.constants


def test_leakage_is_charged_on_every_cycle() -> None:
    design = uniform(SHAPE, w_bits=8, a_bits=8)
    clock = constant(0.5, "GHz")
    leaking = made(array__clock=clock, array__leakage=constant(242_900, "uW"))

    wet, dry = one(leaking, SHAPE, design), one(made(), SHAPE, design)

    leaked = 485.8 * wet["latency_cycles"] / 1e6
    assert wet["energy_uj"] == pytest.approx(dry["energy_uj"] + leaked)


def test_area_is_that_of_multipliers_and_buffers() -> None:
    buffers = {
        f"buffers__{name}": buffer(area=constant(0.5, "mm2"))
        for name in ("weights", "activations", "sums")
    }
    sized = made(array__area=constant(100, "um2"), **buffers)

    area = one(sized, SHAPE, uniform(SHAPE, w_bits=8, a_bits=8))["area_um2"]

    assert area == 64 * 100 + 1.5e6
    assert "area_um2" not in made().metrics


def test_a_layer_that_no_dataflow_can_hold_is_named() -> None:
    tiny = made(dataflow=["ws", "os"], buffers__weights=buffer(100, "bit"))
    none = made(dataflow=["ws", "os"], buffers__weights=buffer(10, "bit"))
    given = uniform(SHAPE, w_bits=8, a_bits=8)

    told = r"cannot hold layer 'L0' under dataflow ws .*: buffers\.weights has room .*can: {}$"
    with pytest.raises(SpecError, match=told.format("none")):
        one(none, SHAPE, given)
    with pytest.raises(SpecError, match=told.format("none")):
        one(tiny, SHAPE, given)
    roomy = made(dataflow=["ws", "os"], buffers__weights=buffer(500, "bit"))
    with pytest.raises(SpecError, match=told.format("os")):
        one(roomy, SHAPE, given)


def test_a_space_is_refused_if_and_only_if_some_design_of_it_cannot_be_held() -> None:
    shape = NetworkShape(layers=(Layer(name="a", k=64, n=64, consumers=("b",)), MIXED.layers[2]))
    shape = replace(shape, layers=(shape.layers[0], replace(shape.layers[1], name="b")))
    found = set()
    for bits in (64, 200, 256, 300, 512, 700, 1024, 2048, 4096):
        flows = ["ws", "is", "os"]
        platform = made(dataflow=flows, **{f"buffers__{b}": buffer(bits, "bit") for b in BUFFERS})
        widths: list[tuple[Value, ...]] = [(8,), (4, 8), (16,), (2, 16)]
        for given in widths:
            for chosen in (["ws"], ["is"], ["os"], flows):
                offered = {"w_bits": given, "a_bits": given, "dataflow": tuple(chosen)}
                allowed = {(knob, x): offered[knob] for knob in offered for x in "ab"}
                refused = fails(lambda: platform.refuse(shape, allowed))  # noqa: B023
                found.add(refused)
                assert refused == any(
                    fails(lambda: one(platform, shape, design))  # noqa: B023
                    for design in designs_of(allowed)
                )
    assert found == {True, False}


def test_dataflows_of_another_platform_are_none_of_its_own() -> None:
    one_flow = made(dataflow=["os"], buffers__weights=buffer(500, "bit"))
    shape = NetworkShape(layers=(Layer(name="a", k=64, n=64),))
    widths: dict[tuple[str, str], tuple[Value, ...]] = {
        ("w_bits", "a"): (8,),
        ("a_bits", "a"): (8,),
    }

    assert fails(
        lambda: made(dataflow=["ws"], buffers__weights=buffer(500, "bit")).refuse(shape, widths)
    )
    one_flow.refuse(shape, {**widths, ("dataflow", "a"): ("ws", "is", "os")})


def fails(does: Callable[[], object]) -> bool:
    try:
        does()
    except SpecError:
        return True
    return False


def designs_of(allowed: Mapping[tuple[str, str], tuple[Value, ...]]) -> Iterator[Design]:
    """Yield all designs, the dataflow equal in all layers."""
    for values in itertools.product(*allowed.values()):
        at = dict(zip(allowed, values, strict=True))
        if at["dataflow", "a"] == at["dataflow", "b"]:
            knobs = ("w_bits", "a_bits", "dataflow")
            yield Design({knob: {x: at[knob, x] for x in "ab"} for knob in knobs})


def test_networks_and_widths_that_cannot_be_costed_are_refused() -> None:
    tpu = next(p for p in PLATFORMS if p.name == "tpu-like")

    with pytest.raises(SpecError, match="must have products"):
        tpu.cost(NetworkShape(layers=()), {})
    with pytest.raises(SpecError, match=r"takes w_bits of 2, 3, .* has w_bits=16"):
        tpu.cost(SHAPE, {})
    mixed = uniform(SHAPE, w_bits=8, a_bits=8, dataflow="os").to_json()
    mixed["dataflow"]["L1"] = "ws"
    with pytest.raises(SpecError, match="one choice for the whole design"):
        EVERYTHING.breakdown(SHAPE, Design(mixed))
