"""What holds for every platform of the ratio model, whatever its table."""

import json
from collections.abc import Callable, Mapping
from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.design import Design, Layer, NetworkShape
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from dse.ports import IntArray
from evaluators.hardware.bitfusion import by_ratios as bitfusion
from evaluators.hardware.ratios import RatioPlatform
from evaluators.hardware.silago import silago
from evaluators.registry import PLATFORMS, make_platform
from tests.evaluators.hardware.mohaq import SHAPE, design, indices

MODELS = [make({"mode": mode}) for make in (silago, bitfusion) for mode in ("paper", "latency")]
IDS = [f"{model.name}-{model.mode}" for model in MODELS]

Make = Callable[[Mapping[str, object]], RatioPlatform]

networks = st.builds(
    lambda sizes, vector, elementwise: NetworkShape(
        layers=tuple(
            Layer(name=f"layer{i}", m=m, k=k, n=n, groups=g, dynamic=d)
            for i, (m, k, n, g, d) in enumerate(sizes)
        ),
        vector_parameters=vector,
        elementwise_operations=elementwise,
    ),
    st.lists(
        st.tuples(
            st.integers(1, 64),
            st.integers(1, 4096),
            st.integers(1, 4096),
            st.integers(1, 4),
            st.booleans(),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 10_000),
    st.integers(0, 100_000),
)


@st.composite
def costed(draw: st.DrawFn, platform: RatioPlatform) -> tuple[NetworkShape, Design]:
    shape = draw(networks)
    chosen = {
        knob: {name: draw(st.sampled_from(values)) for name in shape.names}
        for knob, values in platform.knobs.items()
    }
    for first, *others in platform.tied:
        chosen |= {other: chosen[first] for other in others}
    return shape, Design(chosen)


def one(platform: RatioPlatform, shape: NetworkShape, chosen: Design) -> dict[str, float]:
    choices = {
        knob: np.array([[KNOBS[knob].choices.index(values[name]) for name in shape.names]])
        for knob, values in chosen.choices.items()
    }
    return {name: float(figure[0]) for name, figure in platform.cost(shape, choices).items()}


def widened(platform: RatioPlatform, shape: NetworkShape, chosen: Design, knob: str) -> Design:
    """The same design with its first layer one choice wider."""
    layer = shape.names[0]
    values = platform.knobs[knob]
    wider = values[min(values.index(chosen.value(knob, layer)) + 1, len(values) - 1)]
    changed = {name: dict(v) for name, v in chosen.choices.items()}
    for name in next((tie for tie in platform.tied if knob in tie), (knob,)):
        changed[name][layer] = wider
    return Design(changed)


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
@settings(deadline=None)
@given(data=st.data())
def test_parts_of_a_breakdown_make_up_the_costs(
    platform: RatioPlatform, data: st.DataObject
) -> None:
    shape, chosen = data.draw(costed(platform))
    costs = one(platform, shape, chosen)

    records = platform.breakdown(shape, chosen)

    def total(part: str) -> float:
        return fsum(float(record[part]) for record in records)

    assert [record["layer"] for record in records] == [*shape.names, "(other)"]
    assert total("memory_mib") == pytest.approx(costs["memory_mib"], rel=1e-12)
    assert total("memory_share") == pytest.approx(1 if costs["memory_mib"] else 0)
    if platform.mode == "paper":
        assert total("speedup") == pytest.approx(costs["speedup"], rel=1e-12)
    else:
        operations = shape.macs + shape.elementwise_operations
        assert operations / total("cycles") == pytest.approx(costs["speedup"], rel=1e-12)
    if platform.energy is not None:
        assert total("energy_uj") == pytest.approx(costs["energy_uj"], rel=1e-12)
        assert total("sram_energy_uj") + total("mac_energy_uj") == pytest.approx(
            costs["energy_uj"], rel=1e-12
        )


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
@settings(deadline=None)
@given(data=st.data())
def test_wider_operands_never_pay(platform: RatioPlatform, data: st.DataObject) -> None:
    shape, chosen = data.draw(costed(platform))
    knob = data.draw(st.sampled_from(sorted(platform.knobs)))
    wider = widened(platform, shape, chosen, knob)

    before, after = one(platform, shape, chosen), one(platform, shape, wider)

    changes = wider.choices["w_bits"] != chosen.choices["w_bits"]
    grows_weights = changes and not shape.layers[0].dynamic
    assert after["speedup"] <= before["speedup"]
    assert (after["memory_mib"] > before["memory_mib"]) == grows_weights
    if grows_weights and platform.energy is not None:
        assert after["energy_uj"] > before["energy_uj"]


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
def test_a_dynamic_product_costs_time_but_no_memory(platform: RatioPlatform) -> None:
    stored = Layer(name="fc", k=64, n=32, m=10)
    product = Layer(name="qk", k=16, n=10, m=10, groups=4, dynamic=True)
    chosen = Design({knob: {"fc": 8, "qk": 4} for knob in ("w_bits", "a_bits")})
    both = NetworkShape(layers=(stored, product))
    alone = NetworkShape(layers=(stored,))

    costs = one(platform, both, chosen)
    at_fc, at_qk, _ = platform.breakdown(both, chosen)

    static = Design({knob: {"fc": 8} for knob in ("w_bits", "a_bits")})
    assert costs["memory_mib"] == one(platform, alone, static)["memory_mib"] == 64 * 32 / 2**20
    assert (at_qk["weights"], at_qk["memory_mib"]) == (0, 0.0)
    assert at_qk["macs"] == product.macs == 10 * 16 * 10 * 4
    at_8, at_4 = (platform.ratios[bits, bits] for bits in (8, 4))
    paper = (stored.macs * at_8 + product.macs * at_4) / both.macs
    latency = both.macs / (stored.macs / at_8 + product.macs / at_4)
    assert costs["speedup"] == pytest.approx(paper if platform.mode == "paper" else latency)
    if platform.energy is not None:
        assert at_qk["sram_energy_uj"] == 0.0
        assert at_qk["energy_uj"] == pytest.approx(platform.energy.mac_pj[4] * 6400 / 1e6)


@pytest.mark.parametrize("make", [silago, bitfusion])
@settings(deadline=None)
@given(data=st.data())
def test_the_papers_mean_is_never_below_the_ratio_of_times(
    make: Make, data: st.DataObject
) -> None:
    paper, latency = make({"mode": "paper"}), make({"mode": "latency"})
    shape, chosen = data.draw(costed(paper))
    overhead = shape.elementwise_operations / (shape.macs + shape.elementwise_operations)

    optimistic = one(paper, shape, chosen)["speedup"] + overhead

    assert one(latency, shape, chosen)["speedup"] <= optimistic * (1 + 1e-12)


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
def test_a_design_costs_the_same_alone_and_among_a_thousand(platform: RatioPlatform) -> None:
    rng = np.random.default_rng(3)
    allowed = [KNOBS["w_bits"].choices.index(bits) for bits in platform.knobs["w_bits"]]
    w_bits, a_bits = rng.choice(allowed, size=(2, 1000, len(SHAPE.layers)))
    choices = {"w_bits": w_bits, "a_bits": w_bits if platform.tied else a_bits}

    together = platform.cost(SHAPE, choices)
    alone = [
        platform.cost(SHAPE, {k: v[i : i + 1] for k, v in choices.items()}) for i in range(50)
    ]

    for name in platform.metrics:
        assert together[name].shape == (1000,)
        assert together[name].dtype == np.float64
        assert [costs[name][0] for costs in alone] == together[name][:50].tolist()


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
def test_designs_that_swap_equal_layers_tie_to_the_last_bit(platform: RatioPlatform) -> None:
    narrow = int(platform.knobs["w_bits"][0])
    swapped = [design(8, at={name: narrow, "L0": 16}) for name in ("P1", "P2", "P3")]

    costs = platform.cost(SHAPE, indices(swapped))

    assert all(len(set(figures.tolist())) == 1 for figures in costs.values())


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
def test_absent_knobs_stand_at_16_bits(platform: RatioPlatform) -> None:
    assert one(platform, SHAPE, Design({})) == one(platform, SHAPE, design(16))


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
def test_no_designs_cost_nothing(platform: RatioPlatform) -> None:
    costs = platform.cost(SHAPE, indices([]))

    assert {name: figures.shape for name, figures in costs.items()} == dict.fromkeys(
        platform.metrics, (0,)
    )


def test_registered_names_are_those_of_the_platforms() -> None:
    for name in ("silago", "bitfusion"):
        platform = make_platform(name, {})

        assert name in PLATFORMS
        assert platform.name == name
        assert platform.params == {"mode": "paper"}


@pytest.mark.parametrize("platform", MODELS, ids=IDS)
def test_constants_are_plain_data(platform: RatioPlatform) -> None:
    assert json.loads(json.dumps(platform.constants)) == platform.constants
    assert {key for record in platform.constants for key in record} == {
        *("name", "value", "unit", "source")
    }


@pytest.mark.parametrize("make", [silago, bitfusion])
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"mode": "fast"}, r"mode must be one of paper, latency, got 'fast'"),
        ({"mode": 3}, r"mode must be one of paper, latency, got 3"),
        ({"node": "latency"}, r"takes the parameter mode only, got node"),
    ],
)
def test_bad_parameters_are_refused(make: Make, params: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        make(params)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"w_bits": np.zeros((2, 3), dtype=np.int64)}, r"\(n_designs, 8\), got \(2, 3\)"),
        (
            {
                "w_bits": np.zeros((2, 8), dtype=np.int64),
                "a_bits": np.zeros((1, 8), dtype=np.int64),
            },
            r"share one shape \(n_designs, 8\), got \(1, 8\), \(2, 8\)",
        ),
        ({"w_bits": np.full((1, 8), -1)}, r"indices of w_bits must lie in 0..7, got -1..-1"),
        ({"w_bits": np.full((1, 8), 8)}, r"indices of w_bits must lie in 0..7, got 8..8"),
    ],
)
def test_indices_that_name_no_choice_are_refused(
    choices: dict[str, IntArray], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        bitfusion({}).cost(SHAPE, choices)


def test_a_design_of_unknown_names_is_refused() -> None:
    platform = bitfusion({})

    with pytest.raises(UnknownNameError, match="unknown layer 'L9'; allowed: L0, P1"):
        platform.breakdown(SHAPE, Design({"w_bits": {"L9": 4}}))
    with pytest.raises(UnknownNameError, match="unknown knob 'bits'; allowed: a_bits"):
        platform.breakdown(SHAPE, Design({"bits": {"L0": 4}}))
    with pytest.raises(SpecError, match="w_bits must be one of 2, 3, .* got 9 at 'L0'"):
        platform.breakdown(SHAPE, Design({"w_bits": {"L0": 9}}))


def test_a_network_without_operations_is_refused() -> None:
    with pytest.raises(SpecError, match="must have operations"):
        bitfusion({}).cost(NetworkShape(layers=()), {})


def test_a_network_without_products_has_only_other_parts() -> None:
    shape = NetworkShape(layers=(), elementwise_operations=10)

    (record,) = bitfusion({"mode": "latency"}).breakdown(shape, Design({}))

    assert record["cycles_share"] == 1
    assert record["memory_share"] == 0
