"""The example of `efficientnet-lite0`, in small."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.command_line import Call

EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet-lite0.yaml"


@pytest.mark.slow
def test_the_example_runs_in_small(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DSE_DATABASE_URL", raising=False)
    spec = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    spec["workload"]["params"] = {"views": 1}
    spec["evaluation"] = {"pool": "inline"}
    spec["search"] |= {"population": 4, "offspring": 2, "generations": 1}
    # each width of weights takes seconds to scale by channel
    spec["knobs"][0]["choices"] = [6]
    file, written = tmp_path / "small.yaml", tmp_path / "run.json"
    file.write_text(yaml.safe_dump(spec))

    said = call("run", file, "--json", written)

    assert said.code == 0, said.err
    run = json.loads(written.read_text())
    assert run["front"]
    for found in run["front"]:
        metrics = found["metrics"]
        assert metrics["memory_mib"] <= 3.5
        assert 0.0 < metrics["kl"] < 1.0
        assert re.fullmatch(r"\d+\.0", str(metrics["error"] / 5.0))
