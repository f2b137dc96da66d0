"""Partial sums from the platform that says of them to the network that is measured."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from dse.canonical import canon_of
from dse.design import Choices, Design, NetworkShape, Value
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.arithmetic.psum_plan import count_tiles, effective_group
from evaluators.data.cache import Cache
from evaluators.evaluation import evaluation_key
from evaluators.models.tracing import trace
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.requests import read_schemes
from evaluators.registry import make_platform
from tests.evaluators.fake_mixed import LAYERS, MixedModel, MixedNetwork, everywhere, images
from tests.evaluators.fake_network import TinyNetwork

_TILED: dict[str, int | str] = {"tile": 3, "dataflow": "ws"}


def _request(
    choices: Choices, arithmetic: Mapping[str, Mapping[str, int | str]], split: str = "search"
) -> Request:
    return Request(key="", choices=choices, arithmetic=arithmetic, split=split, timeout_s=1.0)


def _choices(layers: tuple[str, ...], **values: Value) -> Choices:
    return {
        knob: dict.fromkeys(layers, value)
        for knob, value in {"w_bits": 8, "a_bits": 8, **values}.items()
    }


def _told(shape: NetworkShape, design: Design, pci: int) -> dict[str, Mapping[str, int | str]]:
    platform = make_platform("psum-accelerator", {"pci": pci})
    return {
        layer.name: platform.arithmetic(
            layer, {knob: design.value(knob, layer.name) for knob in platform.knobs}
        )
        for layer in shape.layers
    }


def _breakdown(shape: NetworkShape, design: Design, pci: int) -> dict[str, tuple[int, int]]:
    platform = make_platform("psum-accelerator", {"pci": pci})
    parts = platform.breakdown(shape, design)[:-1]
    return {str(part["layer"]): (int(part["tiles"]), int(part["alive"])) for part in parts}


@pytest.mark.parametrize("pci", [2, 3, 8])
@pytest.mark.parametrize("group", [1, 2, 4, "all"])
def test_the_simulator_stores_as_many_sums_as_the_cost_model_counts(
    pci: int, group: Value
) -> None:
    model = MixedModel().eval()
    shape = trace(model, (images("search")[:1],)).shape
    design = Design(_choices(shape.names, psum_bits=8, psum_group=group, dataflow="ws"))
    network = MixedNetwork()
    quantized = QuantizedModel(
        network.model(), layers=shape.names, calibration=network.calibration
    )

    quantized.set(read_schemes(design.choices, _told(shape, design, pci), shape.names))

    costed = _breakdown(shape, design, pci)
    assert set(shape.names) == set(LAYERS)
    for layer in shape.layers:
        summation = quantized.operands[layer.name].summation
        tiles, alive = costed[layer.name]
        if summation is None:
            assert tiles == 1, layer.name
        else:
            assert tiles == count_tiles(layer.k, pci) == len(summation.exponents(layer.k))
            assert alive == effective_group(tiles, summation.sums.group)


def test_canonical_designs_compute_what_the_given_ones_do() -> None:
    shape = trace(MixedModel().eval(), (images("search")[:1],)).shape
    platform = make_platform("psum-accelerator", {"pci": 3})
    canon, evaluator = canon_of(shape, [platform]), AccuracyEvaluator(MixedNetwork())
    given = [
        Design(_choices(shape.names, psum_bits=bits, psum_group=group, dataflow=dataflow))
        for bits, group, dataflow in ((4, "all", "ws"), (6, 4, "is"), (4, 2, "os"), (32, 3, "ws"))
    ]

    for design in given:
        same = canon.design(design)
        assert same != design
        found, wanted = (
            evaluator.evaluate(_request(one.choices, _told(shape, one, 3)))
            for one in (design, same)
        )
        assert found == wanted


def test_fewer_bits_of_sums_lose_more() -> None:
    evaluator = AccuracyEvaluator(TinyNetwork())
    layers = TinyNetwork().shape.names
    exact = evaluator.evaluate(_request(_choices(layers), {}))

    errors = [
        evaluator.evaluate(
            _request(_choices(layers, psum_bits=bits), dict.fromkeys(layers, _TILED))
        )["error"]
        for bits in (16, 8, 6, 4)
    ]

    assert errors == sorted(errors)
    assert errors[0] == pytest.approx(exact["error"], abs=0.2)
    assert errors[-1] > exact["error"] + 3


def test_order_of_designs_and_instance_make_no_difference(tmp_path: Path) -> None:
    requests = [
        _request(_choices(LAYERS, psum_bits=bits, psum_group=group), arithmetic)
        for bits, group in ((4, 1), (8, "all"), (6, 2), (4, "all"))
        for arithmetic in (dict.fromkeys(LAYERS, _TILED), {})
    ]
    cache = Cache(tmp_path)

    first, second = (AccuracyEvaluator(MixedNetwork(), None, one) for one in (None, cache))
    forward = [first.evaluate(request) for request in requests]
    backward = [second.evaluate(request) for request in reversed(requests)]
    stored = [AccuracyEvaluator(MixedNetwork(), None, cache).evaluate(requests[0])]

    assert forward == backward[::-1]
    assert stored == forward[:1]
    assert len({json.dumps(metrics) for metrics in forward}) == 5


def test_maxima_are_kept_for_other_processes(tmp_path: Path) -> None:
    class Unreached(TinyNetwork):
        """Has no calibration samples any more."""

        def calibration(self) -> list[tuple[torch.Tensor, ...]]:
            raise AssertionError("everything is kept")

    layers = TinyNetwork().shape.names
    request = _request(_choices(layers, psum_bits=6), dict.fromkeys(layers, _TILED))
    cache = Cache(tmp_path)

    first = AccuracyEvaluator(TinyNetwork(), None, cache).evaluate(request)
    second = AccuracyEvaluator(Unreached(), None, cache).evaluate(request)

    assert first == second
    assert len(list((tmp_path / "sums").iterdir())) == len(layers)


def test_maxima_of_another_network_are_not_used(tmp_path: Path) -> None:
    class Other(TinyNetwork):
        digest = "1" * 64

        def model(self) -> nn.Module:
            model = super().model()
            for parameter in model.parameters():
                parameter.data *= 3
            return model

    layers = TinyNetwork().shape.names
    request = _request(_choices(layers, psum_bits=6), dict.fromkeys(layers, _TILED))
    cache = Cache(tmp_path)
    AccuracyEvaluator(TinyNetwork(), None, cache).evaluate(request)

    shared = AccuracyEvaluator(Other(), None, cache).evaluate(request)

    assert shared == AccuracyEvaluator(Other()).evaluate(request)


def test_arithmetic_is_part_of_a_measurements_key() -> None:
    choices = everywhere(8)

    keys = {
        evaluation_key(
            workload="mixed", digest="5", choices=choices, arithmetic=arithmetic, split="search"
        )
        for arithmetic in (
            {},
            {"wide": _TILED},
            {"wide": {**_TILED, "tile": 4}},
            {"wide": {**_TILED, "dataflow": "is"}},
        )
    }

    assert len(keys) == 4
