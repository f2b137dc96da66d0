import json

import pytest
import torch
from safetensors.torch import save

from dse.errors import WeightsError
from evaluators.quantizers.beacon_file import BeaconWeights, dump_beacon, load_beacon
from evaluators.quantizers.calibration import input_ranges
from evaluators.quantizers.scheme import Rule
from evaluators.quantizers.tensor_range import FrozenRange
from evaluators.quantizers.uniform import UNIFORM_BITS, uniform_grid
from tests.evaluators.fake_mixed import LAYERS, MixedNetwork
from tests.evaluators.quantizers.test_tensor_range import RULES


def _old_file(name: str = "beacon-dse beacon 1") -> bytes:
    thresholds = {str(bits): 0.1 * bits for bits in UNIFORM_BITS}
    ranges = {"out": {"peak": 3.0, "thresholds": thresholds}}
    told = json.dumps({"format": name, "ranges": ranges, "about": {"steps": 4}})
    return save({"out.weight": torch.ones(2, 2)}, metadata={"beacon": told})


def test_ranges_of_every_rule_and_operand_come_back() -> None:
    network = MixedNetwork()
    model = network.model()
    ranges = input_ranges(model, LAYERS, network.calibration())
    frozen = {operand: one.freeze() for operand, one in ranges.items()}
    weights = BeaconWeights(state=model.state_dict(), ranges=frozen, about={"steps": 4})

    found = load_beacon(dump_beacon(weights))

    assert set(found.ranges) == set(ranges)
    for operand, one in ranges.items():
        assert all(found.ranges[operand].grid(rule) == one.grid(rule) for rule in RULES)
    assert dump_beacon(found) == dump_beacon(weights)


def test_a_file_of_the_old_format_gives_what_it_holds() -> None:
    found = load_beacon(_old_file())

    assert found.about == {"steps": 4}
    assert torch.equal(found.state["out.weight"], torch.ones(2, 2))
    for bits in UNIFORM_BITS:
        assert found.ranges["out"].grid(Rule(bits=bits)) == uniform_grid(0.1 * bits, bits=bits)
    assert found.ranges["out"].grid(Rule(bits=16)).scale == 2.0**10


@pytest.mark.parametrize(
    "rule", [Rule(bits=4, quantizer="absmax"), Rule(bits=4, symmetry="asymmetric")]
)
def test_what_an_old_file_does_not_hold_is_told(rule: Rule) -> None:
    ranges = load_beacon(_old_file()).ranges

    with pytest.raises(WeightsError, match=f"must hold {rule.symmetry} {rule.quantizer} ranges"):
        ranges["out"].grid(rule)


def test_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(WeightsError, match="must be 'beacon-dse beacon 2', got 'beacon 9'"):
        load_beacon(_old_file("beacon 9"))


def test_a_frozen_range_says_what_it_lacks() -> None:
    with pytest.raises(WeightsError, match="an older release"):
        FrozenRange(ends={}, peak=1.0).grid(Rule(bits=8))
