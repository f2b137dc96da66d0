import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.metrics import METRICS
from dse.ports import silent
from dse.tasks import Request, Retraining
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data import small_digits
from evaluators.data.vault import Vault
from evaluators.network import Trainable
from evaluators.registry import Places, make_workload
from evaluators.retraining import Retrainer
from evaluators.workloads.image_network import ImageNetwork
from evaluators.workloads.lenet_digits import lenet_digits
from evaluators.workloads.mlp_digits import mlp_digits
from evaluators.workloads.segformer_digits import segformer_digits
from evaluators.workloads.vit_digits import vit_digits
from tests.evaluators.data.mnist_folder import made_up, write_idx

SMALL: Mapping[str, object] = {"steps": 4}
WORKLOADS = {
    "lenet-digits": (lenet_digits, 61_470, 236, 1000),
    "mlp-digits": (mlp_digits, 234_752, 394, 1000),
    "vit-digits": (vit_digits, 99_968, 5_450, 1000),
    "segformer-digits": (segformer_digits, 301_792, 5_035, 1200),
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    folder = tmp_path_factory.mktemp("mnist")
    write_idx(folder, *made_up(300))
    return Places(home=tmp_path_factory.mktemp("home"), folders={"mnist": folder})


@pytest.fixture(scope="module")
def prepared(places: Places) -> ImageNetwork:
    workload = lenet_digits(SMALL, places)
    workload.prepare(silent)
    return workload


@pytest.mark.parametrize("name", WORKLOADS)
def test_shape_is_there_without_data(name: str, tmp_path: Path) -> None:
    make, weights, vectors, steps = WORKLOADS[name]
    nowhere = Places(home=tmp_path, folders={"mnist": tmp_path / "nowhere"})

    workload = make({}, nowhere)

    assert make_workload(name, {}, nowhere).shape == workload.shape
    assert (workload.shape.weights, workload.shape.vector_parameters) == (weights, vectors)
    assert workload.params == {"corpus": "mnist", "steps": steps, "seed": 0}
    assert set(workload.metrics) <= set(METRICS)
    assert workload.trainable
    assert "DSE_MNIST must be a folder with" in (workload.needs or "")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SpecError, match="DSE_MNIST must be a folder with"):
        workload.prepare(silent)


def test_corpus_is_mnist_where_its_folder_is_given(tmp_path: Path) -> None:
    without = Places(home=tmp_path)
    given = Places(home=tmp_path, folders={"mnist": tmp_path})

    assert lenet_digits({}, without).params["corpus"] == "digits"
    assert lenet_digits({}, given).params["corpus"] == "mnist"
    assert lenet_digits({"corpus": "digits"}, given).params["corpus"] == "digits"
    assert lenet_digits({}, without).needs is None


def test_mnist_without_its_folder_names_the_setting(tmp_path: Path) -> None:
    workload = lenet_digits({"corpus": "mnist"}, Places(home=tmp_path))

    assert workload.shape.names == ("conv1", "conv2", "fc1", "fc2", "fc3")
    assert "set DSE_MNIST to it" in (workload.needs or "")
    with pytest.raises(SpecError, match="set DSE_MNIST to it"):
        workload.prepare(silent)


def test_missing_package_is_needed_and_costs_can_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(small_digits, "find_spec", lambda name: None)

    workload = mlp_digits({}, Places(home=tmp_path))

    assert workload.shape.names == ("fc1", "fc2", "fc3")
    assert "pip install 'beacon-dse[digits]'" in (workload.needs or "")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"corpus": "cifar"}, "corpus must be digits or mnist, got 'cifar'"),
        ({"steps": 0}, "steps must be an integer from 1 to 100000, got 0"),
        ({"steps": "9"}, "steps must be an integer from 1 to 100000, got '9'"),
        ({"seed": -1}, "seed must be an integer from 0 to 4294967295, got -1"),
        ({"speaker": 1}, "no parameter 'speaker'; allowed: corpus, steps, seed"),
    ],
)
@pytest.mark.parametrize("name", WORKLOADS)
def test_bad_params_are_refused_by_name(
    places: Places, name: str, params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=f"^{name}.*{re.escape(message)}"):
        make_workload(name, params, places)


def test_use_before_prepare_is_refused(places: Places) -> None:
    workload = lenet_digits({}, places)

    for use in (workload.model, workload.calibration, lambda: workload.digest):
        with pytest.raises(EvaluationError, match="lenet-digits must be prepared"):
            use()


def test_workload_is_a_trainable_network(prepared: ImageNetwork) -> None:
    network: Trainable = prepared

    model = network.model()

    assert not model.training
    assert [name for name in network.shape.names if model.get_submodule(name)]
    assert len(network.calibration()) == 30
    for (picture,) in network.calibration():
        assert picture.shape == (1, 1, 28, 28)
        assert model(picture).shape == (1, 10)
    assert network.measure(model, "test").keys() == {"error"}
    with pytest.raises(UnknownNameError, match="'train'; allowed: search, test"):
        network.measure(model, "train")


def test_error_is_the_share_of_wrong_digits(prepared: ImageNetwork) -> None:
    class Zero(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[:1].expand(len(pictures), 10)

    batches = prepared._preparation.result.splits["search"]
    zeros = sum(int((labels == 0).sum()) for _, labels in batches)

    assert prepared.measure(Zero(), "search")["error"] == pytest.approx(100 * (1 - zeros / 60))


def test_second_process_only_loads(prepared: ImageNetwork, places: Places) -> None:
    files = {path: path.stat().st_mtime_ns for path in places.home.rglob("*.tensors")}
    again = lenet_digits(SMALL, places)

    again.prepare(silent)

    assert again.digest == prepared.digest
    assert {p: p.stat().st_mtime_ns for p in places.home.rglob("*.tensors")} == files


def test_training_again_gives_the_same_weights(
    prepared: ImageNetwork, places: Places, tmp_path: Path
) -> None:
    again = lenet_digits(SMALL, Places(home=tmp_path, folders=places.folders))

    again.prepare(silent)

    assert again.digest == prepared.digest


@pytest.mark.parametrize("params", [{"steps": 5}, {"steps": 4, "seed": 1}])
def test_other_params_give_other_weights_on_the_same_pictures(
    prepared: ImageNetwork, places: Places, params: dict[str, object]
) -> None:
    other = lenet_digits(params, places)
    other.prepare(silent)

    assert other.digest != prepared.digest
    assert torch.equal(other.calibration()[0][0], prepared.calibration()[0][0])


def test_making_the_network_leaves_the_global_generator_alone(prepared: ImageNetwork) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)

    prepared.model()

    assert torch.equal(torch.rand(1), expected)


def test_lessons_are_batches_as_in_training(prepared: ImageNetwork) -> None:
    lessons = prepared.lessons(silent)

    for pictures, labels in islice(lessons.batches(np.random.default_rng(0)), 3):
        assert pictures.shape == (64, 1, 28, 28)
        loss = lessons.loss(prepared.model(), (pictures, labels), torch.Generator())
        assert loss.requires_grad


def design(workload: ImageNetwork, w_bits: int, a_bits: int) -> dict[str, dict[str, int | str]]:
    names = workload.shape.names
    return {"w_bits": dict.fromkeys(names, w_bits), "a_bits": dict.fromkeys(names, a_bits)}


def error_at(
    evaluator: AccuracyEvaluator, choices: dict[str, dict[str, int | str]], weights: str | None
) -> float:
    request = Request(
        key="k", choices=choices, arithmetic={}, split="search", timeout_s=60.0, weights=weights
    )
    return evaluator.evaluate(request)["error"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet-digits", "mlp-digits"])
def test_small_networks_reach_their_figures_and_beacons_win_at_two_bits(
    name: str, tmp_path: Path
) -> None:
    workload = WORKLOADS[name][0]({"corpus": "digits"}, Places(home=tmp_path))
    workload.prepare(silent)
    vault = Vault(tmp_path / "beacons")
    evaluator = AccuracyEvaluator(workload, vault)
    low = design(workload, 2, 2)

    assert workload.measure(workload.model(), "test")["error"] <= 3.0
    assert error_at(evaluator, design(workload, 8, 8), None) <= 3.0
    before = error_at(evaluator, low, None)
    task = Retraining(key="beacon", choices=low, arithmetic={}, steps=100, seed=1, timeout_s=120.0)
    beacon = Retrainer(workload, vault=vault, scratch=tmp_path / "scratch").retrain(task, silent)

    assert before >= 5.0
    assert error_at(evaluator, low, beacon.digest) <= before / 2


@pytest.mark.slow
def test_a_quarter_of_the_steps_already_teaches_the_transformer(tmp_path: Path) -> None:
    workload = vit_digits({"corpus": "digits", "steps": 250}, Places(home=tmp_path))
    workload.prepare(silent)

    float_error = workload.measure(workload.model(), "test")["error"]

    assert float_error <= 20.0
    quantized = error_at(AccuracyEvaluator(workload), design(workload, 8, 8), None)
    assert quantized <= float_error + 3.0


@pytest.mark.slow
def test_a_quarter_of_the_steps_already_finds_some_digits_in_scenes(tmp_path: Path) -> None:
    workload = segformer_digits({"corpus": "digits", "steps": 300}, Places(home=tmp_path))
    workload.prepare(silent)

    float_error = workload.measure(workload.model(), "test")["error"]

    # the ground everywhere makes 92.8: it covers 79 % of the pixels, one class of eleven
    assert float_error <= 90.0
    quantized = error_at(AccuracyEvaluator(workload), design(workload, 8, 8), None)
    assert quantized <= float_error + 5.0
