import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from api import bootstrap, listings
from api.settings import read_settings
from tests.command_line import Call
from tests.evaluators.models.exports import Mlp, edit_json, payload, rewrite
from tests.evaluators.workloads.file_sets import options, write_files

pytestmark = pytest.mark.slow

GUIDE = (Path(__file__).parents[2] / "docs/own-networks.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    return write_files(tmp_path_factory.mktemp("given"), Mlp(), (6,))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DSE_DATABASE_URL", raising=False)
    monkeypatch.delenv("DSE_PLUGINS", raising=False)
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_an_added_workload_is_listed_shown_costed_measured_and_removed(
    call: Call, given: dict[str, Path]
) -> None:
    added = call("workloads", "add", "own", *options(given), "--metric", "top1-error")
    assert (added.code, added.out) == (
        0,
        "added own: 2 layers, 90 MACs; top1-error 10 on search, top1-error 10 on test\n",
    )

    assert "own" in call("workloads").out
    shown = json.loads(call("workloads", "show", "own", "--json").out)
    assert [layer["name"] for layer in shown["layers"]] == ["layers.0", "layers.3"]
    assert shown["layers"][0] | {"macs": 54, "weights": 54, "m": 1} == shown["layers"][0]
    assert shown["samples"] == {"calibration": 150, "search": 150, "test": 150}
    assert len(shown["digest"]) == 64
    assert shown["floats"] == []
    assert "layers.3" in call("workloads", "show", "own").out

    design = ("--workload", "own", "--platform", "bitfusion", "--set", "w_bits=8", "--json")
    assert json.loads(call("cost", *design).out)["metrics"]["speedup"] > 1
    measured = call("evaluate", *design, "--set", "a_bits=8")
    assert abs(json.loads(measured.out)["metrics"]["error"] - 10.0) < 3.0

    items = listings.workload_items(bootstrap.catalogue(read_settings()))
    assert {item["name"] for item in items} >= {"own", "sru-phones"}

    assert call("workloads", "remove", "own").code == 0
    assert call("workloads", "show", "own").code == 2


def test_workloads_that_come_along_are_shown(call: Call) -> None:
    shown = json.loads(call("workloads", "show", "mohaq-sru", "--json").out)

    assert shown["macs"] == sum(layer["macs"] for layer in shown["layers"])
    assert shown["digest"] is None


def test_a_malicious_model_runs_nothing(
    call: Call, given: dict[str, Path], tmp_path: Path, home: Path
) -> None:
    marker = tmp_path / "ran"
    bad = rewrite(
        given["model"],
        tmp_path / "bad.pt2",
        replace={"data/sample_inputs/model.pt": payload(marker)},
    )

    said = call(
        "workloads", "add", "own", *options(given | {"model": bad}), "--metric", "top1-error"
    )

    assert said.code == 2
    assert "workload 'own'" in said.err
    assert "does not load weights-only" in said.err
    assert not marker.exists()
    assert [path.name for path in (home / "workloads").iterdir()] == [".lock"]


def test_a_model_that_takes_too_much_memory_is_ended(
    call: Call, given: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSE_PLUGIN_MEMORY_MIB", "100")

    said = call("workloads", "add", "own", *options(given), "--metric", "top1-error")

    assert said.code == 1
    assert "workload 'own': its process was ended: it held" in said.err


def test_an_operator_that_refuses_its_input_is_named(
    call: Call, given: dict[str, Path], tmp_path: Path
) -> None:
    def narrow(config: dict[str, dict[str, dict[str, dict[str, object]]]]) -> None:
        config["config"]["layers.3.weight"]["tensor_meta"]["sizes"] = [
            {"as_int": 4},
            {"as_int": 5},
        ]

    bad = edit_json(
        given["model"], tmp_path / "bad.pt2", "data/weights/model_weights_config.json", narrow
    )

    said = call(
        "workloads", "add", "own", *options(given | {"model": bad}), "--metric", "top1-error"
    )

    assert said.code == 1
    assert "layers.3" in said.err


@pytest.mark.parametrize(
    ("name", "changed", "told"),
    [
        ("sru-phones", {}, "'sru-phones' comes with beacon-dse"),
        ("Own", {}, "lower-case letters"),
        ("own", {"test": Path("nowhere.npz")}, "nowhere.npz must be a file"),
        ("own", {"test": Path(".")}, "must be a file"),
    ],
)
def test_what_cannot_be_added_is_told_at_once(
    call: Call, given: dict[str, Path], name: str, changed: dict[str, Path], told: str
) -> None:
    said = call("workloads", "add", name, *options(given | changed), "--metric", "top1-error")

    assert said.code == 2
    assert told in said.err


def test_a_file_that_is_no_model_is_named(
    call: Call, given: dict[str, Path], tmp_path: Path
) -> None:
    np.savez(tmp_path / "model.npz", x=np.zeros(3))

    said = call(
        "workloads",
        "add",
        "own",
        *options(given | {"model": tmp_path / "model.npz"}),
        *("--metric", "top1-error"),
    )

    assert said.code == 2
    assert "torch.export.save" in said.err


def test_the_guide_works_as_it_is_written(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = GUIDE.partition("## A network as a file")[2].partition("\n## ")[0]
    code, commands = re.findall(r"```(?:py|sh)\n(.*?)```", section, re.DOTALL)
    monkeypatch.chdir(tmp_path)

    exec(code, {"__name__": "guide"})
    add, show, evaluate = (call(*shlex.split(line)[1:]) for line in commands.splitlines())

    assert add.code == show.code == 0
    assert evaluate.code == 0
    assert "error [%]" in evaluate.out
    shown = json.loads(call("workloads", "show", "digits", "--json").out)
    assert [layer["name"] for layer in shown["layers"]] == ["0", "2"]
    assert shown["trainable"]
