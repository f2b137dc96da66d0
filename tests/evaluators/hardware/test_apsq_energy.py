"""Energies of our reconstruction of APSQ (arXiv 2505.03748): the figures of its sheet."""

from functools import cache
from pathlib import Path

import pytest

from dse.design import Design, Layer, NetworkShape, Value
from evaluators.hardware.psum_accelerator import psum_accelerator
from evaluators.registry import Places, make_workload

VISION = ("segformer-b0-512", "efficientvit-b1")
NETWORKS = ("bert-base-128", *VISION)
PLACES = Places(home=Path("nowhere"))


@cache
def records(
    network: str, constants: str, flow: str, bits: int, group: Value = 1
) -> list[dict[str, float | str]]:
    llama = {"pci": 32, "pco": 32, "po": 1, "inputs_once": True}
    params = llama if network == "llama2-7b-4096" else {}
    shape = make_workload(network, {"layers": "apsq"}, PLACES).shape
    platform = psum_accelerator({"constants": constants, **params})
    return platform.breakdown(shape, uniform(shape, flow, bits, group))


def uniform(shape: NetworkShape, flow: str, bits: int, group: Value) -> Design:
    values: dict[str, Value] = {
        "w_bits": 8,
        "a_bits": 8,
        "psum_bits": bits,
        "psum_group": group,
        "dataflow": flow,
    }
    return Design({knob: dict.fromkeys(shape.names, value) for knob, value in values.items()})


def millijoules(
    network: str, constants: str, flow: str, bits: int, group: Value = 1, part: str = ""
) -> float:
    name = f"{part}_energy_uj" if part else "energy_uj"
    found = records(network, constants, flow, bits, group)
    return sum(float(record.get(name, 0)) for record in found) / 1e3


def saving(network: str, constants: str, flow: str, group: Value = 1) -> float:
    whole = millijoules(network, constants, flow, 32)
    return 100 * (1 - millijoules(network, constants, flow, 8, group) / whole)


def share(network: str, constants: str, flow: str) -> float:
    stored = sum(
        millijoules(network, constants, flow, 32, part=part) for part in ("sum_sram", "sum_dram")
    )
    return stored / millijoules(network, constants, flow, 32)


@pytest.mark.parametrize(
    ("flow", "inputs", "weights"),
    [("is", 66.689, 3201.093), ("ws", 6402.186, 400.137), ("os", 6402.186, 3201.093)],
)
def test_one_layer_by_its_parts(flow: str, inputs: float, weights: float) -> None:
    shape = NetworkShape(layers=(Layer(name="fc", m=128, k=3072, n=768),))
    sums = {32: 2138.545, 16: 1069.272, 8: 534.636}

    for bits, stored in sums.items():
        record, _ = psum_accelerator({}).breakdown(shape, uniform(shape, flow, bits, 1))

        def both(tensor: str, record: dict[str, float | str] = record) -> float:
            return float(record[f"{tensor}_sram_energy_uj"]) + float(
                record[f"{tensor}_dram_energy_uj"]
            )

        assert both("input") == pytest.approx(inputs, abs=5e-4)
        assert both("weight") == pytest.approx(weights, abs=5e-4)
        assert both("output") == pytest.approx(16.672, abs=5e-4)
        assert float(record["mac_energy_uj"]) == pytest.approx(69.458, abs=5e-4)
        assert both("sum") == pytest.approx(0 if flow == "os" else stored, abs=5e-4)


@pytest.mark.parametrize(
    ("network", "constants", "flow", "bits", "group", "energy"),
    [
        ("bert-base-128", "horowitz-45", "is", 32, 1, 201.657),
        ("bert-base-128", "horowitz-45", "is", 16, 1, 162.393),
        ("bert-base-128", "horowitz-45", "is", 8, 1, 142.761),
        ("bert-base-128", "horowitz-45", "ws", 32, 1, 183.365),
        ("bert-base-128", "horowitz-45", "ws", 16, 1, 144.100),
        ("bert-base-128", "horowitz-45", "ws", 8, 1, 124.468),
        ("bert-base-128", "horowitz-45", "os", 32, 1, 205.788),
        ("bert-base-128", "interstellar-28", "is", 32, 1, 192.634),
        ("bert-base-128", "interstellar-28", "is", 8, 1, 108.852),
        ("bert-base-128", "interstellar-28", "ws", 32, 1, 185.798),
        ("bert-base-128", "interstellar-28", "ws", 8, 1, 102.016),
        ("bert-base-128", "interstellar-28", "os", 32, 1, 139.714),
        ("segformer-b0-512", "horowitz-45", "is", 32, 1, 109.817),
        ("segformer-b0-512", "horowitz-45", "is", 8, 1, 74.052),
        ("segformer-b0-512", "horowitz-45", "ws", 32, 1, 1030.872),
        ("segformer-b0-512", "horowitz-45", "ws", 8, 1, 142.245),
        ("segformer-b0-512", "horowitz-45", "ws", 8, 2, 142.245),
        ("segformer-b0-512", "horowitz-45", "ws", 8, 3, 355.461),
        ("segformer-b0-512", "horowitz-45", "ws", 8, 4, 355.461),
        ("efficientvit-b1", "horowitz-45", "is", 32, 1, 24.782),
        ("efficientvit-b1", "horowitz-45", "is", 8, 1, 15.463),
        ("efficientvit-b1", "horowitz-45", "ws", 32, 1, 67.909),
        ("efficientvit-b1", "horowitz-45", "ws", 8, 2, 23.148),
        ("efficientvit-b1", "horowitz-45", "ws", 8, 3, 30.986),
    ],
)
def test_totals_of_the_sheet(
    network: str, constants: str, flow: str, bits: int, group: Value, energy: float
) -> None:
    found = millijoules(network, constants, flow, bits, group)

    assert found == pytest.approx(energy, abs=6e-4)


@pytest.mark.parametrize(
    ("constants", "network", "inputs", "small", "large", "shares"),
    [
        ("horowitz-45", "bert-base-128", 29.2, 32.1, 32.1, (0.389, 0.428)),
        ("horowitz-45", "segformer-b0-512", 32.6, 86.2, 65.5, (0.434, 0.874)),
        ("horowitz-45", "efficientvit-b1", 37.6, 65.9, 54.4, (0.501, 0.725)),
        ("interstellar-28", "bert-base-128", 43.5, 45.1, 45.1, (0.580, 0.601)),
        ("interstellar-28", "segformer-b0-512", 46.4, 84.8, 65.5, (0.619, 0.873)),
        ("interstellar-28", "efficientvit-b1", 50.4, 65.6, 56.6, (0.672, 0.754)),
    ],
)
def test_savings_and_shares_of_the_sheet(
    constants: str,
    network: str,
    inputs: float,
    small: float,
    large: float,
    shares: tuple[float, float],
) -> None:
    assert saving(network, constants, "is") == pytest.approx(inputs, abs=0.051)
    for group in (1, 2):
        assert saving(network, constants, "ws", group) == pytest.approx(small, abs=0.051)
    for group in (3, 4):
        assert saving(network, constants, "ws", group) == pytest.approx(large, abs=0.051)
    found = (share(network, constants, "is"), share(network, constants, "ws"))
    assert found == pytest.approx(shares, abs=6e-4)


@pytest.mark.parametrize(("constants", "gain"), [("horowitz-45", 42.7), ("interstellar-28", 22.5)])
def test_long_prompts_gain_most(constants: str, gain: float) -> None:
    whole = millijoules("llama2-7b-4096", constants, "ws", 32)

    gains = [whole / millijoules("llama2-7b-4096", constants, "ws", 8, g) for g in (1, 2, 3, 4)]

    assert gains[:2] == pytest.approx([gain] * 2, abs=0.051)
    assert gains[2:] == pytest.approx([3.8] * 2, abs=0.1)


@pytest.mark.parametrize(("constants", "gain"), [("horowitz-45", 49.0), ("interstellar-28", 25.1)])
def test_long_prompts_gain_more_where_a_mac_costs_less(constants: str, gain: float) -> None:
    def energy(bits: int, group: Value) -> float:
        found = records("llama2-7b-4096", constants, "ws", bits, group)
        # 0.1 pJ in place of 0.23
        return sum(float(r["energy_uj"]) - 0.13 * float(r.get("macs", 0)) / 1e6 for r in found)

    gains = [energy(32, 1) / energy(8, group) for group in (1, 2, 3, 4)]

    assert gains[:2] == pytest.approx([gain] * 2, abs=0.051)
    assert gains[2:] == pytest.approx([3.85] * 2, abs=0.1)


def test_the_claims_of_the_paper_lie_where_the_reconstruction_does() -> None:
    inputs = [saving(network, "horowitz-45", "is") for network in NETWORKS]
    weights = [saving(network, "horowitz-45", "ws") for network in VISION]
    shares = [share(n, c, "is") for n in NETWORKS for c in ("horowitz-45", "interstellar-28")]

    # second-hand digest: 28 to 42 % under is, up to 87 % under ws on vision; abstract: up to 69 %
    assert all(28 <= found <= 42 for found in inputs)
    assert 80 <= max(weights) <= 90
    assert 0.35 <= max(shares) <= 0.70
