import os
import re
import wave
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.metrics import METRICS
from dse.ports import silent
from evaluators.network import Trainable
from evaluators.registry import Places, make_workload
from evaluators.workloads.sru_digits import SruDigits, sru_digits
from tests.evaluators.data.fsdd_folder import write_fsdd, write_wav

SMALL: Mapping[str, object] = {"steps": 2}


def float_report(workload: SruDigits) -> dict[str, dict[str, float]]:
    model = workload.model()
    return {split: workload.measure(model, split) for split in workload.splits}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fsdd")
    write_fsdd(path)
    return path


@pytest.fixture(scope="module")
def places(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    return Places(home=tmp_path_factory.mktemp("home"), folders={"fsdd": folder})


@pytest.fixture(scope="module")
def prepared(places: Places) -> SruDigits:
    workload = sru_digits(SMALL, places)
    workload.prepare(silent)
    return workload


def test_params_are_complete_with_defaults(places: Places) -> None:
    workload = make_workload("sru-digits", {"steps": 7}, places)

    assert workload.params == {"held_out": "lucas", "steps": 7, "seed": 0}
    assert workload.metrics == ("error", "string_error")
    assert set(workload.metrics) <= set(METRICS)
    assert workload.splits == ("search", "test", "unseen")
    assert workload.trainable
    assert workload.shape.weights == 284_736
    assert workload.shape.weights + workload.shape.vector_parameters == 287_819


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"held_out": 3}, "held_out must be a speaker's name, got 3"),
        ({"steps": 0}, "steps must be an integer from 1 to 100000, got 0"),
        ({"steps": "9"}, "steps must be an integer from 1 to 100000, got '9'"),
        ({"seed": -1}, "seed must be an integer from 0 to 4294967295, got -1"),
        ({"speaker": "anna"}, "no parameter 'speaker'; allowed: held_out, steps, seed"),
    ],
)
def test_bad_params_are_refused_by_name(
    places: Places, params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        sru_digits(params, places)


def test_without_its_folder_the_setting_is_named(tmp_path: Path) -> None:
    without = sru_digits({}, Places(home=tmp_path))
    assert without.shape.names[-1] == "FC"
    assert without.needs is not None
    with pytest.raises(SpecError, match="set DSE_FSDD to their folder"):
        without.prepare(silent)


@pytest.mark.parametrize(
    ("given", "held_out", "message"),
    [
        ("nowhere", "lucas", "DSE_FSDD must be the folder"),
        (".", "lucas", "must hold digit_speaker_take.wav files, got none"),
        (None, "nobody", "held_out must be one of anna, bert, lucas .*, got 'nobody'"),
    ],
)
def test_what_the_folder_lacks_is_named_and_costs_can_be_had_all_the_same(
    places: Places, tmp_path: Path, given: str | None, held_out: str, message: str
) -> None:
    if given is not None:
        places = Places(home=tmp_path, folders={"fsdd": tmp_path / given})

    workload = sru_digits({"held_out": held_out}, places)

    assert workload.shape.weights == 284_736
    assert re.search(message, workload.needs or "")
    with pytest.raises(SpecError, match=message):
        workload.prepare(silent)


def test_making_the_workload_writes_nothing(folder: Path, tmp_path: Path) -> None:
    workload = sru_digits({}, Places(home=tmp_path, folders={"fsdd": folder}))

    assert workload.shape.names[0] == "L0"
    assert list(tmp_path.iterdir()) == []


def test_use_before_prepare_is_refused(places: Places) -> None:
    workload = sru_digits({}, places)

    for use in (workload.model, workload.calibration, lambda: workload.digest):
        with pytest.raises(EvaluationError, match="must be prepared"):
            use()


def test_workload_is_a_trainable_network(prepared: SruDigits) -> None:
    network: Trainable = prepared

    model = network.model()

    assert not model.training
    for layer in network.shape.layers:
        assert isinstance(model.get_submodule(layer.name), nn.Linear)
    assert len(network.calibration()) == 72
    for (features,) in network.calibration()[:5]:
        assert features.shape[0] == 1
        assert features.shape[2] == 80
        assert model(features).shape == (1, features.shape[1], 11)


def test_float_report_has_every_split_and_repeats_exactly(prepared: SruDigits) -> None:
    report = float_report(prepared)

    assert list(report) == ["search", "test", "unseen"]
    assert all(list(metrics) == ["error", "string_error"] for metrics in report.values())
    assert report["unseen"] == prepared.measure(prepared.model(), "unseen")


def test_unknown_split_is_refused(prepared: SruDigits) -> None:
    with pytest.raises(UnknownNameError, match="'train'; allowed: search, test, unseen"):
        prepared.measure(prepared.model(), "train")


def test_second_process_only_loads(prepared: SruDigits, places: Places) -> None:
    told: list[str] = []
    (train,) = places.home.rglob("train.tensors")
    train.rename(train.with_suffix(".away"))

    again = sru_digits(SMALL, places)
    again.prepare(lambda label, done, total: told.append(label))

    assert told == []
    assert again.digest == prepared.digest
    assert again.measure(again.model(), "unseen") == prepared.measure(prepared.model(), "unseen")
    train.with_suffix(".away").rename(train)


def test_data_and_weights_are_the_same_in_another_home(
    prepared: SruDigits, folder: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    elsewhere = sru_digits(SMALL, Places(home=tmp_path, folders={"fsdd": folder}))
    elsewhere.prepare(lambda label, done, total: told.append(label))

    assert list(dict.fromkeys(told)) == ["reading recordings", "stringing digits", "training"]
    assert elsewhere.digest == prepared.digest


def test_seed_changes_the_weights_and_no_split(prepared: SruDigits, places: Places) -> None:
    other = sru_digits({**SMALL, "seed": 1}, places)
    other.prepare(silent)

    assert other.digest != prepared.digest
    assert len(list((places.home / "cache" / "corpus").iterdir())) == 1


def test_altered_recording_gives_another_network(prepared: SruDigits, tmp_path: Path) -> None:
    write_fsdd(tmp_path / "fsdd")
    path = tmp_path / "fsdd" / "3_anna_0.wav"
    with wave.open(str(path), "rb") as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16)
    write_wav(path, -sound)

    other = sru_digits(SMALL, Places(home=tmp_path, folders={"fsdd": tmp_path / "fsdd"}))
    other.prepare(silent)

    assert other.digest != prepared.digest


def test_lessons_are_full_strings_that_the_network_can_learn_from(prepared: SruDigits) -> None:
    lessons = prepared.lessons(silent)
    model = prepared.model()

    first, again = (next(lessons.batches(np.random.default_rng(3))) for _ in range(2))
    loss = lessons.loss(model, first, torch.Generator().manual_seed(0))
    torch.autograd.backward(loss)

    features, _, _, counts = first
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert (features.shape[0], features.shape[2]) == (16, 80)
    assert 3 <= int(counts.min()) <= int(counts.max()) <= 7
    assert loss.shape == ()
    for layer in prepared.shape.names:
        gradient = model.get_submodule(layer).get_parameter("weight").grad
        assert gradient is not None
        assert gradient.isfinite().all()
        assert gradient.any()


def test_lessons_use_training_takes_alone(tmp_path: Path) -> None:
    write_fsdd(tmp_path / "fsdd")
    for path in (tmp_path / "fsdd").glob("[5-9]_*_[56].wav"):
        path.unlink()
    workload = sru_digits(SMALL, Places(home=tmp_path, folders={"fsdd": tmp_path / "fsdd"}))
    workload.prepare(silent)

    batches = workload.lessons(silent).batches(np.random.default_rng(0))

    digits = torch.cat([batch[1].flatten() for batch in islice(batches, 3)])
    assert sorted(set(digits.tolist())) == [-1, 0, 1, 2, 3, 4]


@pytest.mark.slow
def test_few_steps_already_teach_tones(places: Places) -> None:
    workload = sru_digits({"steps": 160}, places)
    workload.prepare(silent)

    assert float_report(workload)["test"]["error"] < 75


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("DSE_FSDD"),
    reason="needs the Free Spoken Digit Dataset: set DSE_FSDD to its recordings",
)
def test_real_digits_are_heard_with_3_percent_word_error_or_less(tmp_path: Path) -> None:
    folder = Path(os.environ["DSE_FSDD"])
    workload = sru_digits({}, Places(home=tmp_path, folders={"fsdd": folder}))
    workload.prepare(silent)

    report = float_report(workload)

    assert report["test"]["error"] <= 3.0
    assert report["search"]["error"] <= 5.0
    assert report["unseen"]["error"] <= 40.0
