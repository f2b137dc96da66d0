"""The example networks, in Python and as files: quantized, searched, exported, measured again."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import Call

pytestmark = pytest.mark.slow

SOURCES = Path(__file__).parents[2] / "examples" / "plugin" / "src"
PLUGIN = f"""
import sys
sys.path.insert(0, {str(SOURCES)!r})
from digits_workload.workload import digits_resnet, digits_vit
"""
JOB = {
    "name": "digits",
    "platforms": [{"name": "bitfusion"}],
    "knobs": [
        {"knob": "w_bits", "choices": [2, 4, 8]},
        {"knob": "a_bits", "choices": [4, 8]},
        {"knob": "act_quantizer", "choices": ["mmse", "absmax"]},
        {"knob": "w_granularity", "choices": ["channel"]},
        {"knob": "a_symmetry", "layers": "@last", "choices": ["asymmetric"]},
        {"knob": "w_bits", "layers": "@first", "choices": [8]},
    ],
    "objectives": ["error", "speedup"],
    "search": {"population": 6, "offspring": 3, "generations": 2, "baselines": ["uniform"]},
}
WAYS = ("digits-resnet", "digits-vit", "resnet", "vit")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export both networks and add the files as workloads `resnet` and `vit`."""
    folder = tmp_path_factory.mktemp("own")
    files, home = folder / "files", folder / "home"
    (folder / "plugin.py").write_text(PLUGIN)
    environment = {**os.environ, "DSE_HOME": str(home), "PYTHONPATH": str(SOURCES)}
    _run("-m", "digits_workload.export", files, environment=environment)
    for name in ("resnet", "vit"):
        parts = [f"--{part}={files / part}.npz" for part in ("calibration", "search", "test")]
        model = f"--model={files / name}.pt2"
        add = ("-m", "api.cli", "workloads", "add", name, model, *parts, "--metric=top1-error")
        _run(*add, environment=environment)
    return home


def _run(*arguments: object, environment: dict[str, str]) -> None:
    command = [sys.executable, *map(str, arguments)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSE_HOME", str(home))
    monkeypatch.setenv("DSE_PLUGINS", str(home.with_name("plugin.py")))


@pytest.mark.parametrize("name", WAYS)
def test_eight_bits_stay_within_a_point_of_float(name: str, call: Call) -> None:
    def error(*bits: str) -> float:
        sets = [word for one in bits for word in ("--set", one)]
        command = ("evaluate", "--workload", name, "--platform", "bitfusion", *sets)
        said = call(*command, "--split", "test", "--json")
        assert said.code == 0, said.err
        measured: float = json.loads(said.out)["metrics"]["test_error"]
        return measured

    float_like = error("w_bits=16", "a_bits=16")

    assert float_like < 6
    assert abs(error("w_bits=8", "a_bits=8") - float_like) <= 1


@pytest.mark.parametrize("name", ["digits-vit", "resnet"])
def test_a_search_is_exported_and_measured_again(name: str, call: Call, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({**JOB, "workload": {"name": name}}))
    said = call("run", tmp_path / "job.yaml", "--json", tmp_path / "run.json")
    assert said.code == 0, said.err
    front: list[dict[str, Any]] = json.loads((tmp_path / "run.json").read_text())["front"]

    narrowest = max(front, key=lambda item: item["metrics"]["speedup"])
    out = tmp_path / "export.json"
    said = call("export", "latest", "--design", narrowest["hash"], "--output", out)
    assert said.code == 0, said.err
    said = call("evaluate", "--export", out, "--json")
    assert said.code == 0, said.err

    assert json.loads(said.out)["metrics"]["error"] == narrowest["metrics"]["error"]


def test_a_network_has_the_same_layers_and_errors_as_a_file(call: Call) -> None:
    items = {item["name"]: item for item in json.loads(call("workloads", "--json").out)["items"]}

    for name in ("resnet", "vit"):
        assert items[name]["layers"] == items[f"digits-{name}"]["layers"]
