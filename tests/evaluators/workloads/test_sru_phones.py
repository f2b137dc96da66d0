import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from dse.errors import CacheError, EvaluationError, SpecError, UnknownNameError
from dse.ports import silent
from evaluators.data import espeak
from evaluators.network import Network
from evaluators.registry import Places, make_workload
from evaluators.workloads.sru_phones import SruPhones, sru_phones
from tests.evaluators.data.timit_folder import write_timit

SMALL: Mapping[str, object] = {"sentences": 20, "steps": 2}


def float_report(workload: SruPhones) -> dict[str, dict[str, float]]:
    model = workload.model()
    return {split: workload.measure(model, split) for split in workload.splits}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def prepared(home: Path) -> SruPhones:
    workload = sru_phones(SMALL, Places(home=home))
    workload.prepare(silent)
    return workload


def test_params_are_complete_with_defaults(tmp_path: Path) -> None:
    workload = make_workload("sru-phones", {"steps": 7}, Places(home=tmp_path))

    assert workload.params == {"corpus": "espeak", "sentences": 2000, "steps": 7, "seed": 0}
    assert workload.metrics == ("error", "frame_error")
    assert workload.shape.macs == 387_072


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"corpus": "flite"}, "corpus must be espeak or timit, got 'flite'"),
        ({"sentences": 19}, "sentences must be an integer from 20 to 20000, got 19"),
        ({"sentences": 20001}, "sentences must be an integer from 20 to 20000, got 20001"),
        ({"sentences": "60"}, "sentences must be an integer from 20 to 20000, got '60'"),
        ({"steps": 0}, "steps must be an integer from 1 to 100000, got 0"),
        ({"steps": True}, "steps must be an integer from 1 to 100000, got True"),
        ({"seed": -1}, "seed must be an integer from 0 to 4294967295, got -1"),
        ({"voice": "m1"}, "no parameter 'voice'; allowed: corpus, sentences, steps, seed"),
    ],
)
def test_bad_params_are_refused_by_name(
    tmp_path: Path, params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        sru_phones(params, Places(home=tmp_path))


def test_making_the_workload_writes_nothing(tmp_path: Path) -> None:
    workload = sru_phones({}, Places(home=tmp_path))

    assert workload.shape.names[0] == "L0"
    assert list(tmp_path.iterdir()) == []


def test_use_before_prepare_is_refused(tmp_path: Path) -> None:
    workload = sru_phones({}, Places(home=tmp_path))

    for use in (workload.model, workload.calibration, lambda: workload.digest):
        with pytest.raises(EvaluationError, match="must be prepared"):
            use()


def test_workload_is_a_network(prepared: SruPhones) -> None:
    network: Network = prepared

    model = network.model()

    assert not model.training
    for layer in network.shape.layers:
        assert isinstance(model.get_submodule(layer.name), nn.Linear)
    assert len(network.calibration()) == 8
    for (features,) in network.calibration():
        assert features.shape[0] == 1
        assert features.shape[2] == 80
        assert model(features).shape == (1, features.shape[1], 40)


def test_float_report_has_every_split_and_repeats_exactly(prepared: SruPhones) -> None:
    report = float_report(prepared)

    assert list(report) == ["search", "test", "unseen"]
    assert all(list(metrics) == ["error", "frame_error"] for metrics in report.values())
    assert report == float_report(prepared)


def test_models_are_copies(prepared: SruPhones) -> None:
    spoiled = prepared.model()
    with torch.no_grad():
        spoiled.get_submodule("FC").get_parameter("weight").zero_()

    assert prepared.model().get_submodule("FC").get_parameter("weight").any()


def test_unknown_split_is_refused(prepared: SruPhones) -> None:
    with pytest.raises(UnknownNameError, match="'train'; allowed: search, test, unseen"):
        prepared.measure(prepared.model(), "train")


def test_second_process_only_loads(prepared: SruPhones, home: Path) -> None:
    told: list[str] = []
    train_files = list(home.rglob("train.tensors"))
    for path in train_files:
        path.rename(path.with_suffix(".away"))

    again = sru_phones(SMALL, Places(home=home))
    again.prepare(lambda label, done, total: told.append(label))

    assert (len(train_files), told) == (1, [])
    assert again.digest == prepared.digest
    assert float_report(again) == float_report(prepared)
    for path in train_files:
        path.with_suffix(".away").rename(path)


def test_data_and_weights_are_the_same_in_another_home(
    prepared: SruPhones, tmp_path: Path
) -> None:
    told: list[str] = []
    elsewhere = sru_phones(SMALL, Places(home=tmp_path))
    elsewhere.prepare(lambda label, done, total: told.append(label))

    assert list(dict.fromkeys(told)) == ["synthesising speech", "computing features", "training"]
    assert elsewhere.digest == prepared.digest


def test_damaged_corpus_is_built_again_with_the_same_digest(
    prepared: SruPhones, home: Path
) -> None:
    (path,) = home.rglob("held_out.tensors")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 64
    path.write_bytes(content)

    again = sru_phones(SMALL, Places(home=home))
    again.prepare(silent)

    assert again.digest == prepared.digest


def test_full_disk_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(CacheError, match="cannot write .*No space left on device"):
        sru_phones(SMALL, Places(home=tmp_path)).prepare(silent)

    assert list(tmp_path.rglob("*.t*")) == []


def test_missing_synthesiser_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        espeak, "find_spec", lambda name: None if name == "espeakng_loader" else find_spec(name)
    )

    with pytest.raises(EvaluationError, match=r"pip install 'beacon-dse\[server\]'"):
        sru_phones(SMALL, Places(home=tmp_path)).prepare(silent)


def test_timit_without_its_folder_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="set DSE_TIMIT"):
        sru_phones({"corpus": "timit"}, Places(home=tmp_path))


def test_whole_workload_runs_on_a_timit_folder(tmp_path: Path) -> None:
    write_timit(tmp_path / "timit")
    places = Places(home=tmp_path / "home", folders={"timit": tmp_path / "timit"})
    workload = sru_phones({"corpus": "timit", "steps": 3}, places)
    told: list[str] = []

    workload.prepare(lambda label, done, total: told.append(label))

    assert list(dict.fromkeys(told)) == ["computing features", "training"]
    assert workload.splits == ("search", "test")
    assert list(float_report(workload)) == ["search", "test"]
    assert len(workload.calibration()) == 8
    with pytest.raises(UnknownNameError, match="'unseen'; allowed: search, test"):
        workload.measure(workload.model(), "unseen")


@pytest.mark.slow
def test_small_corpus_already_teaches_most_frames(tmp_path: Path) -> None:
    workload = sru_phones({"sentences": 60, "steps": 40}, Places(home=tmp_path))
    workload.prepare(silent)

    report = float_report(workload)

    assert report["test"]["frame_error"] < 40
    assert report["test"]["error"] < 75
