"""Bits, energies and cycles of one layer, on arrays that broadcast together."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.design import Layer
from dse.ports import IntArray
from evaluators.hardware.accesses import DATAFLOWS, Dataflow
from evaluators.hardware.layer_costs import Choice, Machine, layer_costs
from evaluators.hardware.profiles import PROFILES
from evaluators.hardware.psum_accelerator import psum_accelerator

LAYER = Layer(name="fc", m=10, k=20, n=12)
MACHINE = psum_accelerator({"pci": 8, "pco": 4, "po": 4}).machine


def choice(
    w: object = 8, a: object = 8, p: object = 8, alive: object = 1, o: object = 8
) -> Choice:
    def array(value: object) -> IntArray:
        return np.asarray(value, dtype=np.int64)

    return Choice(w=array(w), a=array(a), p=array(p), alive=array(alive), o=array(o))


def roomy(machine: Machine, kib: float = 1e6) -> Machine:
    return replace(
        machine, buffers=replace(machine.buffers, input_kib=kib, weight_kib=kib, sum_kib=kib)
    )


@pytest.mark.parametrize("dataflow", DATAFLOWS)
@given(width=st.integers(2, 8))
def test_energy_is_linear_in_each_width_while_everything_fits(
    dataflow: Dataflow, width: int
) -> None:
    machine = roomy(MACHINE)
    for knob, parts in {
        "w": ("weight_sram", "weight_dram"),
        "a": ("input_sram", "input_dram"),
        "p": ("sum_sram", "sum_dram"),
        "o": ("output_sram", "output_dram"),
    }.items():
        one = layer_costs(machine, LAYER, dataflow, choice(**{knob: 1}))
        many = layer_costs(machine, LAYER, dataflow, choice(**{knob: width}))
        for part, energy in many.energy_pj.items():
            factor = width if part in parts else 1
            if part != "mac":
                assert energy == pytest.approx(factor * one.energy_pj[part])


def test_dram_moves_each_tensor_once_when_all_fits() -> None:
    # M 10, N 12, K 20, w 4, a 8, o 8: 3520 bits
    machine = roomy(MACHINE)

    for dataflow in DATAFLOWS:
        costs = layer_costs(machine, LAYER, dataflow, choice(w=4))
        bits = sum(costs.energy_pj[f"{t}_dram"] for t in ("weight", "input", "sum", "output"))
        assert bits / machine.technology.dram_pj == pytest.approx(3520)


@pytest.mark.parametrize(
    ("dataflow", "weights", "inputs"), [("ws", 1, 3), ("is", 3, 1), ("os", 3, 3)]
)
def test_what_does_not_fit_is_fetched_again_for_each_pass(
    dataflow: Dataflow, weights: int, inputs: int
) -> None:
    machine = roomy(MACHINE, 1e-3)
    once = roomy(MACHINE)

    again, known = (layer_costs(m, LAYER, dataflow, choice()) for m in (machine, once))

    assert again.energy_pj["weight_dram"] == weights * known.energy_pj["weight_dram"]
    assert again.energy_pj["input_dram"] == inputs * known.energy_pj["input_dram"]


def test_the_cheaper_order_fetches_the_smaller_tensor_again() -> None:
    # nn 3 passes over 1600 bits of inputs, or nm 3 over 1920 of weights
    cheaper = replace(roomy(MACHINE, 1e-3), profile=PROFILES["complete"])

    costs = layer_costs(cheaper, LAYER, "os", choice())

    dram = cheaper.technology.dram_pj
    assert costs.energy_pj["input_dram"] / dram == pytest.approx(3 * 1600)
    assert costs.energy_pj["weight_dram"] / dram == pytest.approx(1920)


def test_sums_that_do_not_fit_spill_whole_or_by_their_share() -> None:
    # 10 x 4 outputs of 8 bits in 160 bits: half of them has no room
    spilling = replace(MACHINE, buffers=replace(MACHINE.buffers, sum_kib=160 / 8192))
    by_share = replace(spilling, profile=PROFILES["complete"])
    moved = 2 * 2 * 10 * 12 * 8

    whole, half = (layer_costs(m, LAYER, "ws", choice()) for m in (spilling, by_share))

    dram = MACHINE.technology.dram_pj
    assert not whole.fits.item()
    assert whole.energy_pj["sum_dram"] == moved * dram
    assert half.energy_pj["sum_dram"] == moved / 2 * dram


def test_additions_outside_the_array_are_charged_once_and_only_where_told() -> None:
    plain = layer_costs(MACHINE, LAYER, "ws", choice())
    told = layer_costs(replace(MACHINE, profile=PROFILES["complete"]), LAYER, "ws", choice())

    assert plain.energy_pj["accumulation"] == 0
    # two additions an output, of 32 bits at 0.003125 pJ
    assert told.energy_pj["accumulation"] == pytest.approx(10 * 12 * 2 * 0.1)
    assert told.energy_pj["mac"] == plain.energy_pj["mac"]


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_many_choices_cost_what_each_does_alone(dataflow: Dataflow) -> None:
    w, a = np.array([2, 5, 16]).reshape(-1, 1, 1), np.array([3, 8]).reshape(-1, 1)
    p = np.array([4, 32])

    together = layer_costs(MACHINE, LAYER, dataflow, choice(w=w, a=a, p=p, alive=2))

    total, latency = np.broadcast_arrays(together.total_pj, together.latency)
    for at in np.ndindex(3, 2, 2):
        alone = layer_costs(
            MACHINE, LAYER, dataflow, choice(w.flat[at[0]], a.flat[at[1]], p[at[2]], alive=2)
        )
        pick = tuple(min(i, size - 1) for i, size in zip(at, total.shape, strict=True))
        assert total[pick] == alone.total_pj
        assert np.broadcast_to(latency, total.shape)[pick] == alone.latency
