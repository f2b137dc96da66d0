import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dse.design import Choices
from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.cache import Cache
from evaluators.registry import Places
from evaluators.tasks import make_evaluator
from tests.evaluators.fake_mixed import MixedNetwork, everywhere
from tests.evaluators.fake_network import TinyNetwork

_DESIGNS: list[Choices | None] = [
    None,
    {},
    {"w_bits": {"first": 2, "out": 4}, "a_bits": {"second": 3}},
    {"w_bits": {"first": 8, "second": 2, "out": 2}, "a_bits": {"first": 2, "out": 8}},
    {"w_bits": {"first": 2, "second": 2, "out": 2}, "a_bits": {"first": 2, "second": 2}},
]


def _request(
    choices: Choices | None,
    *,
    arithmetic: Mapping[str, Mapping[str, int | str]] | None = None,
    split: str = "search",
) -> Request:
    return Request(
        key="k", choices=choices, arithmetic=arithmetic or {}, split=split, timeout_s=60.0
    )


def test_order_of_designs_and_instance_make_no_difference() -> None:
    first, second = AccuracyEvaluator(TinyNetwork()), AccuracyEvaluator(TinyNetwork())

    forward = [first.evaluate(_request(choices)) for choices in _DESIGNS]
    backward = [second.evaluate(_request(choices)) for choices in reversed(_DESIGNS)]

    assert forward == backward[::-1]
    assert len({metrics["spread"] for metrics in forward}) == len(_DESIGNS)


def test_float_network_is_the_unchanged_model() -> None:
    network = TinyNetwork()

    assert AccuracyEvaluator(network).evaluate(_request(None)) == network.measure(
        network.model(), "search"
    )


def test_fewer_bits_lose_more() -> None:
    evaluator = AccuracyEvaluator(TinyNetwork())
    layers = TinyNetwork().shape.names

    errors = [
        evaluator.evaluate(
            _request({"w_bits": dict.fromkeys(layers, b), "a_bits": dict.fromkeys(layers, b)})
        )["error"]
        for b in (16, 8, 4, 2)
    ]

    assert errors == sorted(errors)
    assert errors[0] < 1.0 < errors[-1]


_SCHEMES: list[Choices] = [
    everywhere(8),
    everywhere(4, act_quantizer="absmax", w_granularity="channel"),
    everywhere(4, act_quantizer="percentile", a_symmetry="asymmetric"),
    everywhere(2, a_symmetry="asymmetric", w_granularity="channel"),
    everywhere(16),
]


def test_every_kind_of_product_and_scheme_is_measured_alike_in_any_order() -> None:
    first, second = AccuracyEvaluator(MixedNetwork()), AccuracyEvaluator(MixedNetwork())

    forward = [first.evaluate(_request(choices)) for choices in _SCHEMES]
    backward = [second.evaluate(_request(choices)) for choices in reversed(_SCHEMES)]

    assert forward == backward[::-1]
    assert len({metrics["spread"] for metrics in forward}) == len(_SCHEMES)
    assert forward[0]["error"] <= 6.1


def test_words_have_no_effect_at_sixteen_bits() -> None:
    evaluator = AccuracyEvaluator(MixedNetwork())
    words = everywhere(
        16, act_quantizer="absmax", w_granularity="channel", a_symmetry="asymmetric"
    )

    assert evaluator.evaluate(_request(words)) == evaluator.evaluate(_request(everywhere(16)))


def test_calibration_is_kept_for_the_next_process(tmp_path: Path) -> None:
    class Once(MixedNetwork):
        calls = 0

        def calibration(self) -> Sequence[tuple[Tensor, ...]]:
            Once.calls += 1
            return super().calibration()

    plain = [AccuracyEvaluator(MixedNetwork()).evaluate(_request(c)) for c in _SCHEMES]
    for _ in range(2):
        evaluator = AccuracyEvaluator(Once(), cache=Cache(tmp_path))
        assert [evaluator.evaluate(_request(choices)) for choices in _SCHEMES] == plain

    assert Once.calls == 1


def test_scales_of_channels_are_kept_for_the_next_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = _request(everywhere(4, w_granularity="channel"))
    plain = AccuracyEvaluator(MixedNetwork()).evaluate(request)
    first = AccuracyEvaluator(MixedNetwork(), cache=Cache(tmp_path)).evaluate(request)

    monkeypatch.delattr("evaluators.quantizers.weighted.channel_grid")

    assert AccuracyEvaluator(MixedNetwork(), cache=Cache(tmp_path)).evaluate(request) == plain
    assert first == plain


def test_scales_of_other_weights_are_not_taken(tmp_path: Path) -> None:
    class Other(MixedNetwork):
        def model(self) -> nn.Module:
            model = super().model()
            model.get_submodule("wide").get_parameter("weight").data.mul_(1.5)
            return model

    request = _request(everywhere(4, w_granularity="channel"))
    AccuracyEvaluator(MixedNetwork(), cache=Cache(tmp_path)).evaluate(request)
    (ranges,) = (tmp_path / "ranges").iterdir()
    shutil.rmtree(ranges)

    other = AccuracyEvaluator(Other(), cache=Cache(tmp_path)).evaluate(request)

    assert other == AccuracyEvaluator(Other()).evaluate(request)


def test_calibration_of_another_network_is_not_taken(tmp_path: Path) -> None:
    class Other(MixedNetwork):
        digest = "6" * 64

        def calibration(self) -> Sequence[tuple[Tensor, ...]]:
            return [(3 * one,) for (one,) in super().calibration()]

    request = _request(everywhere(4))
    AccuracyEvaluator(MixedNetwork(), cache=Cache(tmp_path)).evaluate(request)

    cached = AccuracyEvaluator(Other(), cache=Cache(tmp_path)).evaluate(request)

    assert cached == AccuracyEvaluator(Other()).evaluate(request)


def test_a_network_that_leaves_the_finite_numbers_is_told_of_by_layer() -> None:
    class Broken(TinyNetwork):
        def model(self) -> nn.Module:
            model = super().model()
            model.get_submodule("out").register_forward_pre_hook(
                # calibration goes by one sample at a time
                lambda module, given: (given[0] * torch.nan,) if len(given[0]) > 1 else None
            )
            return model

    with pytest.raises(EvaluationError, match="input of layer 'out' must be finite"):
        AccuracyEvaluator(Broken()).evaluate(_request({}))


def test_splits_are_measured_apart() -> None:
    evaluator = AccuracyEvaluator(TinyNetwork())

    search = evaluator.evaluate(_request({}, split="search"))
    test = evaluator.evaluate(_request({}, split="test"))

    assert search != test


@pytest.mark.parametrize(
    ("choices", "error", "message"),
    [
        ({"w_bits": {"first": 9}}, SpecError, "w_bits at layer 'first' must be one of .* got 9"),
        ({"w_bits": {"third": 8}}, UnknownNameError, "unknown layer 'third'; allowed: first"),
        ({"z_bits": {"first": 8}}, UnknownNameError, "unknown knob 'z_bits'"),
    ],
)
def test_designs_that_cannot_be_obeyed_are_refused(
    choices: Choices, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AccuracyEvaluator(TinyNetwork()).evaluate(_request(choices))


def test_arithmetic_that_is_not_known_is_refused() -> None:
    evaluator = AccuracyEvaluator(TinyNetwork())

    assert evaluator.evaluate(_request({}, arithmetic={"first": {}}))
    with pytest.raises(SpecError, match="arithmetic at layer 'first'.*tile"):
        evaluator.evaluate(_request({}, arithmetic={"first": {"tile": 8}}))
    with pytest.raises(UnknownNameError, match="layer 'third'"):
        evaluator.evaluate(_request({}, arithmetic={"third": {}}))


def test_metric_that_is_not_finite_is_an_error() -> None:
    class Broken(TinyNetwork):
        def measure(self, model: nn.Module, split: str) -> dict[str, float]:
            return {"error": math.nan}

    with pytest.raises(EvaluationError, match="'error' must be finite, got nan"):
        AccuracyEvaluator(Broken()).evaluate(_request({}))


def test_shape_only_workload_has_nothing_to_measure(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="'mohaq-sru' is shape-only"):
        make_evaluator("mohaq-sru", {}, Places(home=tmp_path), tmp_path)
