import json
from pathlib import Path

import pytest
import yaml

from tests.command_line import Call

EXAMPLE = Path(__file__).parents[2] / "examples" / "minilm-similarity.yaml"


@pytest.mark.slow
def test_the_example_job_finds_a_front_in_reduced_form(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DSE_DATABASE_URL", raising=False)
    spec = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    spec["workload"]["params"] = {"tokens": 12}
    # the ranges of 46,000 channels take a while, of each width
    spec["knobs"] += [
        {"knob": "w_bits", "choices": [4, 8]},
        {"knob": "w_granularity", "choices": ["tensor"]},
    ]
    spec["evaluation"] = {"pool": "inline"}
    spec["search"] |= {"population": 4, "offspring": 2, "generations": 2}
    path, document = tmp_path / "job.yaml", tmp_path / "run.json"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")

    said = call("run", str(path), "--json", str(document))

    assert said.code == 0, said.err
    found = json.loads(document.read_text(encoding="utf-8"))
    assert found["front"]
    for one in found["front"]:
        assert set(one["metrics"]) >= {"error", "infidelity", "speedup", "test_error"}
        assert one["design"]["act_quantizer"].keys() == one["design"]["w_bits"].keys()
        assert set(one["design"]["act_quantizer"].values()) == {"absmax"}
