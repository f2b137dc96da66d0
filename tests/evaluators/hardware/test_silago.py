from itertools import product

import numpy as np
import pytest

from dse.design import Design
from dse.errors import SpecError
from evaluators.hardware.silago import silago
from tests.evaluators.hardware.mohaq import SHAPE, design, indices

PAPER = silago({})
LATENCY = silago({"mode": "latency"})

ANCHORS = [
    (design(16), 10.6016, 0.98439, 16.36009),
    (design(8), 5.3092, 1.96878, 6.57077),
    (design(4), 2.66299, 3.93756, 2.63756),
    (design(4, at={"FC": 8}), 3.66168, 3.19454, 4.12197),
    (design(4, at={"FC": 8, "L0": 8}), 3.69787, 3.16761, 4.17577),
    (design(4, at={"FC": 8, "L0": 16}), 3.77026, 3.15415, 4.30965),
    (design(4, at={"L0": 16, "P1": 8}), 2.90585, 3.79727, 3.02483),
    (design(4, at={"L0": 8, "P1": 8}), 2.83346, 3.81073, 2.89094),
    (design(4, at={"L0": 16}), 2.77157, 3.89717, 2.82525),
]

LATENCY_ANCHORS = [
    (design(16), 1.0),
    (design(8), 1.9693),
    (design(4), 3.8211),
    (design(4, at={"FC": 8}), 2.8202),
    (design(4, at={"L0": 16, "P1": 8}), 3.5175),
    (design(4, at={"L0": 16}), 3.6791),
]


@pytest.mark.parametrize(("given", "memory_mib", "speedup", "energy_uj"), ANCHORS)
def test_costs_are_those_of_the_mohaq_anchor_table(
    given: Design, memory_mib: float, speedup: float, energy_uj: float
) -> None:
    costs = PAPER.cost(SHAPE, indices([given]))

    assert costs["memory_mib"][0] == pytest.approx(
        memory_mib, abs=6e-5 if memory_mib > 5 else 6e-6
    )
    assert costs["speedup"][0] == pytest.approx(speedup, abs=6e-6)
    assert costs["energy_uj"][0] == pytest.approx(energy_uj, abs=6e-6)


@pytest.mark.parametrize(("given", "speedup"), LATENCY_ANCHORS)
def test_latency_mode_gives_the_ratio_of_times(given: Design, speedup: float) -> None:
    costs = LATENCY.cost(SHAPE, indices([given]))

    assert costs["speedup"][0] == pytest.approx(speedup, abs=6e-5)


def test_the_whole_space_has_the_papers_extremes() -> None:
    genomes = np.array(list(product((2, 6, 7), repeat=8)), dtype=np.int64)

    costs = PAPER.cost(SHAPE, {"w_bits": genomes, "a_bits": genomes})

    assert len(genomes) == 6561
    assert costs["speedup"].min() == pytest.approx(0.98439, abs=6e-6)
    assert costs["speedup"].max() == pytest.approx(3.93756, abs=6e-6)
    assert costs["energy_uj"].min() == pytest.approx(2.63756, abs=6e-6)
    assert costs["energy_uj"].max() == pytest.approx(16.36009, abs=6e-6)
    assert np.count_nonzero(costs["memory_mib"] <= 6) == 3219


@pytest.mark.parametrize(("bits", "percent"), [(16, 43.5), (8, 54.2), (4, 67.8)])
def test_reading_weights_takes_the_papers_share_of_energy(bits: int, percent: float) -> None:
    records = PAPER.breakdown(SHAPE, design(bits))

    sram = sum(float(record["sram_energy_uj"]) for record in records)
    total = sum(float(record["energy_uj"]) for record in records)
    assert 100 * sram / total == pytest.approx(percent, abs=0.06)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (design(4, at={"P2": (2, 2)}), r"takes w_bits of 4, 8, 16; layer 'P2' has w_bits=2"),
        (design(4, at={"FC": (4, 5)}), r"takes a_bits of 4, 8, 16; layer 'FC' has a_bits=5"),
        (
            design(8, at={"L1": (4, 8)}),
            r"needs w_bits equal to a_bits; layer 'L1' has w_bits=4 and a_bits=8",
        ),
        (Design({"w_bits": dict.fromkeys(SHAPE.names, 4)}), r"w_bits=4 and a_bits=16"),
    ],
)
def test_a_design_that_the_units_cannot_run_is_refused(given: Design, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        PAPER.breakdown(SHAPE, given)


def test_a_layer_asks_nothing_of_the_error_evaluator() -> None:
    assert PAPER.arithmetic(SHAPE.layers[0], {"w_bits": 4, "a_bits": 4}) == {}
