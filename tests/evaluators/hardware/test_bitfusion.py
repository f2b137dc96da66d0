from itertools import product

import numpy as np
import pytest

from dse.design import Design
from dse.knobs import KNOBS
from evaluators.hardware.bitfusion import by_ratios as bitfusion
from tests.evaluators.hardware.mohaq import SHAPE, design, genes, indices

PAPER = bitfusion({})
LATENCY = bitfusion({"mode": "latency"})

ANCHORS = [
    (design(16), 10.6016, 0.98439),
    (design(8), 5.3092, 3.93756),
    (design(4), 2.66299, 15.75024),
    (design(4, at={"FC": 8}), 3.66168, 11.2921),
    (design(4, at={"FC": 8, "L0": 8}), 3.69787, 11.1305),
    (design(4, at={"FC": 8, "L0": 16}), 3.77026, 11.0901),
    (design(4, at={"L0": 16, "P1": 8}), 2.90585, 14.9489),
    (design(4, at={"L0": 8, "P1": 8}), 2.83346, 14.9893),
    (design(4, at={"L0": 16}), 2.77157, 15.5483),
    (design(2), 1.33989, 63.001),
    (design(2, at={"FC": (2, 4)}), 1.33989, 51.1126),
    (design(2, 4), 1.33989, 31.5005),
    (design(2, 8), 1.33989, 15.7502),
    (design(2, 16), 1.33989, 7.8751),
]

LATENCY_ANCHORS = [
    (design(16), 1.0),
    (design(8), 3.8211),
    (design(4), 12.9644),
    (design(2, 4), 21.5648),
    (design(2, at={"FC": (2, 4)}), 27.1771),
    (design(2), 32.2676),
]

BEACONS = [
    ("4,2,4,2/16,4,8,2/4,2,2/2,2,16/2,8", 1.6265, 26.778, 13.066),
    ("16,2,2,2/16,2,2,2/2,2,2/2,2,4/2,8", 1.4666, 42.722, 16.016),
    ("2,2,2,2/16,8,16,2/8,8,2/2,2,8/2,16", 1.7427, 18.665, 9.658),
    ("8,2,2,2/16,8,16,2/8,8,2/2,2,8/2,16", 1.7970, 18.584, 9.209),
    ("4,2,2,2/16,2,2,2/2,2,2/4,4,4/2,4", 1.3580, 45.51, 23.64),
]

RATIOS = [
    (2, (64, 32, 16, 8)),
    (4, (32, 16, 8, 4)),
    (8, (16, 8, 4, 2)),
    (16, (8, 4, 2, 1)),
]


def last_digit(figure: float) -> float:
    return 0.6 * 10.0 ** -len(f"{figure}".partition(".")[2])


@pytest.mark.parametrize(("given", "memory_mib", "speedup"), ANCHORS)
def test_costs_are_those_of_the_mohaq_anchor_table(
    given: Design, memory_mib: float, speedup: float
) -> None:
    costs = PAPER.cost(SHAPE, indices([given]))

    assert costs["memory_mib"][0] == pytest.approx(memory_mib, abs=last_digit(memory_mib))
    assert costs["speedup"][0] == pytest.approx(speedup, abs=last_digit(speedup))


@pytest.mark.parametrize(("given", "speedup"), LATENCY_ANCHORS)
def test_latency_mode_gives_the_ratio_of_times(given: Design, speedup: float) -> None:
    costs = LATENCY.cost(SHAPE, indices([given]))

    assert costs["speedup"][0] == pytest.approx(speedup, abs=6e-5)


@pytest.mark.parametrize(("text", "memory_mib", "paper", "latency"), BEACONS)
def test_the_papers_beacons_cost_what_mohaq_says(
    text: str, memory_mib: float, paper: float, latency: float
) -> None:
    given = indices([genes(text)])

    costs = PAPER.cost(SHAPE, given)

    assert costs["memory_mib"][0] == pytest.approx(memory_mib, abs=6e-5)
    assert costs["speedup"][0] == pytest.approx(paper, abs=last_digit(paper))
    assert LATENCY.cost(SHAPE, given)["speedup"][0] == pytest.approx(
        latency, abs=last_digit(latency)
    )


def test_two_mebibytes_leave_546_weight_combinations() -> None:
    choices = np.array([0, 2, 6, 7])
    weights = choices[np.array(list(product(range(4), repeat=8)))]

    fits = PAPER.cost(SHAPE, {"w_bits": weights})["memory_mib"] <= 2

    fc_bits = np.array(KNOBS["w_bits"].choices)[weights[fits, SHAPE.names.index("FC")]]
    assert len(weights) == 65_536
    assert dict(zip(*np.unique(fc_bits, return_counts=True), strict=True)) == {2: 527, 4: 19}


@pytest.mark.parametrize(("w_bits", "ratios"), RATIOS)
def test_ratios_are_those_of_the_mohaq_speed_table(w_bits: int, ratios: tuple[int, ...]) -> None:
    assert tuple(PAPER.ratios[w_bits, a_bits] for a_bits in (2, 4, 8, 16)) == ratios


@pytest.mark.parametrize(("odd", "even"), [(3, 4), (5, 8), (6, 8), (7, 8)])
def test_odd_widths_run_like_the_next_power_of_two_but_store_their_bits(
    odd: int, even: int
) -> None:
    costs = PAPER.cost(SHAPE, indices([design(odd), design(even)]))

    assert costs["speedup"][0] == costs["speedup"][1]
    assert costs["memory_mib"][0] < costs["memory_mib"][1]


def test_two_bits_at_the_last_layer_are_no_business_of_the_platform() -> None:
    assert len(PAPER.breakdown(SHAPE, design(2))) == len(SHAPE.layers) + 1
