import json
from collections.abc import Mapping

import numpy as np
import pytest

from dse.design import Design, Layer, NetworkShape
from dse.errors import SpecError
from dse.knobs import BITS, KNOBS
from dse.metrics import METRICS
from dse.ports import IntArray
from evaluators.hardware.bitfusion import bitfusion
from evaluators.hardware.fusion.platform import CyclePlatform, cycle_platform
from evaluators.registry import make_platform
from tests.evaluators.hardware.mohaq import SHAPE, design, indices

PLATFORM = cycle_platform({})
MIXED = NetworkShape(
    layers=(
        Layer(name="stem", m=196, k=27, n=24, kernel=3, stride=2),
        Layer(name="depthwise", m=196, k=9, n=1, groups=24, kernel=3),
        Layer(name="rows", m=49, k=24, n=64),
        Layer(name="qk", m=49, k=16, n=49, groups=4, dynamic=True),
        Layer(name="fc", k=64, n=10),
    ),
    vector_parameters=100,
    elementwise_operations=1000,
)


def random_choices(shape: NetworkShape, n_designs: int) -> dict[str, IntArray]:
    rng = np.random.default_rng(8)
    size = (n_designs, len(shape.layers))
    return {knob: rng.integers(0, 8, size=size) for knob in ("w_bits", "a_bits")}


def design_at(shape: NetworkShape, choices: Mapping[str, IntArray], row: int) -> Design:
    return Design(
        {
            knob: {
                name: KNOBS[knob].choices[index]
                for name, index in zip(shape.names, indices[row], strict=True)
            }
            for knob, indices in choices.items()
        }
    )


def one(platform: CyclePlatform, shape: NetworkShape, given: Design) -> dict[str, float]:
    choices = {
        knob: np.array([[KNOBS[knob].choices.index(given.value(knob, n)) for n in shape.names]])
        for knob in ("w_bits", "a_bits")
    }
    return {name: float(column[0]) for name, column in platform.cost(shape, choices).items()}


def test_the_mode_cycles_of_bitfusion_is_this_platform() -> None:
    platform = make_platform("bitfusion", {"mode": "cycles", "batch": 16})

    assert isinstance(platform, CyclePlatform)
    assert platform.name == "bitfusion"
    assert (platform.params["batch"], platform.params["rows"]) == (16, 16)
    assert bitfusion(platform.params) == platform
    assert set(platform.metrics) <= set(METRICS)


@pytest.mark.parametrize("batch", [1, 16])
def test_the_network_of_mohaq_gains_what_was_calculated(batch: int) -> None:
    platform = cycle_platform({"batch": batch, "dram": "simulator"})
    rows = [(8, 8), (4, 4), (2, 4), (2, 2)]
    given = indices([design(w, a) for w, a in rows])
    published = {1: (239_400, 127_645, 68_764, 76_731), 16: (335_907, 209_269, 150_388, 157_544)}

    costs = platform.cost(SHAPE, given)

    assert costs["latency_cycles"].tolist() == list(published[batch])
    speedup = costs["speedup"] / costs["speedup"][0]
    gains = {1: (1, 1.88, 3.48, 3.12), 16: (1, 1.61, 2.23, 2.13)}
    assert speedup.tolist() == pytest.approx(gains[batch], abs=0.006)


def test_speed_is_told_against_sixteen_bits_on_the_same_array() -> None:
    costs = PLATFORM.cost(SHAPE, indices([design(16), design(8)]))

    assert costs["speedup"][0] == 1
    assert costs["speedup"][1] == costs["latency_cycles"][0] / costs["latency_cycles"][1]


@pytest.mark.parametrize("params", [{}, {"include_leakage": True, "batch": 3}])
@pytest.mark.parametrize("shape", [SHAPE, MIXED], ids=["sru", "mixed"])
def test_breakdowns_add_up_to_costs(shape: NetworkShape, params: dict[str, object]) -> None:
    platform = cycle_platform(params)
    choices = random_choices(shape, 20)
    costs = platform.cost(shape, choices)
    for row in range(20):
        records = platform.breakdown(shape, design_at(shape, choices, row))
        layers = records[:-1]

        def total(figure: str, parts: list[dict[str, float | str]] = records) -> float:
            return sum(float(part[figure]) for part in parts if figure in part)

        assert [part["layer"] for part in records] == [*shape.names, "(other)"]
        for metric in ("latency_cycles", "energy_uj", "memory_mib", "area_um2"):
            assert total(metric) == pytest.approx(costs[metric][row], rel=1e-12)
        speedup = total("reference_cycles") / total("latency_cycles")
        assert speedup == pytest.approx(costs["speedup"][row], rel=1e-12)
        for part in layers:
            parts = (figure for name, figure in part.items() if name.endswith("_energy_uj"))
            assert sum(map(float, parts)) == pytest.approx(float(part["energy_uj"]))
            cycles = float(part["compute_cycles"]) + float(part["stall_cycles"])
            assert cycles == part["latency_cycles"]
            assert part["bound_by"] in ("compute", "dram", "latency")
        area = [float(figure) for name, figure in records[-1].items() if "_area_um2" in name]
        assert sum(area) == pytest.approx(costs["area_um2"][row])


def test_energy_is_that_of_one_inference_and_latency_that_of_a_batch() -> None:
    alone, together = (cycle_platform({"batch": batch}) for batch in (1, 8))

    first, eighth = one(alone, SHAPE, design(4)), one(together, SHAPE, design(4))

    assert eighth["energy_uj"] < first["energy_uj"]
    assert first["latency_cycles"] < eighth["latency_cycles"] < 8 * first["latency_cycles"]


def test_weights_are_shared_by_a_batch_and_second_activations_are_not() -> None:
    shape = NetworkShape(layers=(Layer(name="qk", m=9, k=64, n=64, dynamic=True),))
    stored = NetworkShape(layers=(Layer(name="fc", m=9, k=64, n=64),))
    alone, together = (cycle_platform({"batch": batch}) for batch in (1, 8))
    given = Design({})

    assert (
        one(together, shape, given)["latency_cycles"]
        == 8 * one(alone, shape, given)["latency_cycles"]
    )
    assert (
        one(together, stored, given)["latency_cycles"]
        < 8 * one(alone, stored, given)["latency_cycles"]
    )
    assert one(alone, shape, given)["memory_mib"] == 0


def test_leakage_is_charged_on_all_cycles_where_it_is_asked_for() -> None:
    leaking = cycle_platform({"include_leakage": True})

    dry, wet = one(PLATFORM, SHAPE, design(4)), one(leaking, SHAPE, design(4))

    leaked = leaking.machine.leakage_pj_per_cycle * dry["latency_cycles"] / 1e6
    assert wet["energy_uj"] == pytest.approx(dry["energy_uj"] + leaked)


def test_padded_widths_are_stored_and_moved_as_powers_of_two() -> None:
    padded = cycle_platform({"storage": "padded"})

    for odd, even in ((3, 4), (5, 8), (7, 8)):
        assert one(padded, SHAPE, design(odd)) == one(padded, SHAPE, design(even))
        assert one(padded, SHAPE, design(even)) == one(PLATFORM, SHAPE, design(even))
        assert (
            one(PLATFORM, SHAPE, design(odd))["memory_mib"]
            < one(PLATFORM, SHAPE, design(even))["memory_mib"]
        )


def test_a_design_costs_the_same_alone_and_among_a_hundred() -> None:
    choices = random_choices(MIXED, 100)

    together = PLATFORM.cost(MIXED, choices)

    for row in range(20):
        alone = PLATFORM.cost(MIXED, {k: v[row : row + 1] for k, v in choices.items()})
        for name in PLATFORM.metrics:
            assert together[name].dtype == np.float64
            assert alone[name][0] == together[name][row]


def test_designs_that_swap_equal_layers_tie_to_the_last_bit() -> None:
    swapped = [design(8, at={name: 2, "L0": 16}) for name in ("P1", "P2", "P3")]

    costs = PLATFORM.cost(SHAPE, indices(swapped))

    assert all(len(set(figures.tolist())) == 1 for figures in costs.values())


def test_no_designs_cost_nothing() -> None:
    costs = PLATFORM.cost(SHAPE, indices([]))

    assert {name: figures.shape for name, figures in costs.items()} == dict.fromkeys(
        PLATFORM.metrics, (0,)
    )


def test_constants_are_plain_data_with_unit_and_source() -> None:
    assert json.loads(json.dumps(PLATFORM.constants)) == PLATFORM.constants
    assert all(constant["unit"] and constant["source"] for constant in PLATFORM.constants)


def test_a_layer_that_no_tile_can_hold_is_named() -> None:
    wide = NetworkShape(layers=(Layer(name="wide", m=1, k=10_000, n=8, kernel=100),))

    with pytest.raises(SpecError, match="cannot hold layer 'wide' .*IBUF of 262144"):
        PLATFORM.cost(wide, {})
    narrow = {("w_bits", "wide"): (2,), ("a_bits", "wide"): (2,)}
    with pytest.raises(SpecError, match="layer 'wide' with w_bits=16 and a_bits=16: .*IBUF of"):
        PLATFORM.refuse(wide, narrow)
    PLATFORM.refuse(SHAPE, {(k, n): BITS for k in ("w_bits", "a_bits") for n in SHAPE.names})


def test_a_network_without_products_is_refused() -> None:
    with pytest.raises(SpecError, match="must have products"):
        PLATFORM.cost(NetworkShape(layers=(), elementwise_operations=3), {})
    with pytest.raises(SpecError, match="must have products"):
        PLATFORM.breakdown(NetworkShape(layers=()), Design({}))
