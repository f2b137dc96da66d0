import inspect
import re
import shlex
import signal
import sys
from functools import partial
from pathlib import Path

import httpx
import pytest

import dse.client
from api import cli
from api.commands import beacons, jobs
from dse.client import Client
from tests.dse.client.fakes import WEIGHTS, FakeService

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sdk.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(autouse=True)
def _service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The page's clients reach a service in memory; files land in a folder of the test."""
    connect = partial(Client, transport=httpx.MockTransport(FakeService()))
    monkeypatch.setattr(dse.client, "Client", connect)
    for module in (beacons, jobs):
        monkeypatch.setattr(module, "Client", connect)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)


def test_python_examples_run_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}

    for block in _blocks("python"):
        exec(compile(block, "docs/sdk.md", "exec"), names)

    told = capsys.readouterr().out
    assert "21.0 11.5 {'w_bits'" in told
    assert "1 READY 30.0 21.5 4" in told
    assert (tmp_path / "beacon-1.safetensors").read_bytes() == WEIGHTS
    assert "404 not_found unknown job '0123'" in told
    assert (tmp_path / "front.csv").read_text().startswith("hash,generation,origin,error,speedup")


def test_shell_examples_run_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [line for block in _blocks("sh") for line in block.splitlines()]

    for command in commands:
        monkeypatch.setattr(sys, "argv", shlex.split(command))
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code, command

    assert len(commands) == 9
    assert capsys.readouterr().out.endswith("job job000 is READY\n")


def test_every_method_of_a_job_is_on_the_page() -> None:
    methods = {
        name
        for name, value in vars(dse.client.Job).items()
        if inspect.isfunction(value) and value.__qualname__ == f"Job.{name}" and name[0] != "_"
    }

    told = set(re.findall(r"[a-z_]+(?=\()", PAGE))

    assert {"wait", "front"} <= methods <= told
