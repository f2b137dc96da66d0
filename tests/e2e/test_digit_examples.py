"""The examples on pictures of digits, each in small: hardly trained, searched for two rounds."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.command_line import Call

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("lenet-digits", "mlp-digits", "vit-digits", "segformer-digits")


def small(name: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8"))
    data["workload"]["params"] = {"corpus": "digits", "steps": 4}
    data["constraints"] = []
    data.pop("reference_point", None)
    data["search"] |= {"population": 4, "offspring": 2, "generations": 2}
    if "beacons" in data:
        data["beacons"] |= {"window": [-1000.0, 1000.0], "gates": {}, "max_beacons": 1, "steps": 2}
    return data


@pytest.mark.parametrize("name", NAMES)
def test_example_runs_in_small(
    name: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DSE_DATABASE_URL", raising=False)
    monkeypatch.delenv("DSE_MNIST", raising=False)
    spec, told = tmp_path / "job.yaml", tmp_path / "told.json"
    spec.write_text(yaml.safe_dump(small(name)))

    said = call("run", spec, "--json", told)

    assert said.code == 0, said.err
    document = json.loads(told.read_text())
    assert document["front"]
    for evaluation in document["evaluations"]:
        assert 0 <= evaluation["metrics"]["error"] <= 100
    assert len(document.get("beacons", [])) == (1 if "beacons" in small(name) else 0)
