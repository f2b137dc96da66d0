"""README's section on the service, word for word but for the address and the size."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.service import Service, environment

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_ADDRESS = "http://127.0.0.1:8000"


@pytest.mark.slow
def test_service_of_the_readme_runs_a_job_by_curl_and_by_python(tmp_path: Path) -> None:
    [curl] = [line for line in README.splitlines() if line.startswith("curl ")]
    [python] = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "quick.yaml").write_text(yaml.safe_dump(_small()))
    with Service(environment(tmp_path)) as service:
        service.wait_until_ready()
        posted = subprocess.run(
            shlex.split(curl.replace(_ADDRESS, service.url)),
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
        told = subprocess.run(
            [sys.executable, "-c", python],
            cwd=tmp_path,
            env={**os.environ, "DSE_SERVER": service.url},
            check=True,
            capture_output=True,
            text=True,
        )

    assert json.loads(posted.stdout)["state"] == "READY"
    header, *rows = told.stdout.splitlines()
    assert "error" in header
    assert rows


def _small() -> object:
    spec = yaml.safe_load((ROOT / "examples" / "quick.yaml").read_text())
    spec["workload"]["params"] = {"sentences": 20, "steps": 2}
    spec["search"] |= {"population": 4, "offspring": 2, "generations": 2}
    # a tiny network is too bad for the real one's limits
    return {**spec, "constraints": []}
