import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api import cli, console
from api.commands import beacons, jobs
from dse.client import Client
from tests.dse.client.fakes import WEIGHTS, FakeService, evaluation_data
from tests.dse.client.test_jobs import SPEC

Dse = Callable[..., int]


@pytest.fixture
def service() -> FakeService:
    service = FakeService()
    service.submit(SPEC)
    return service


@pytest.fixture
def dse(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> Dse:
    """Runs a command against `service` and returns its exit code."""
    monkeypatch.setattr(console.out, "width", 160)  # a narrow one cuts a table's words

    def connect(url: str | None) -> Client:
        return Client(url, transport=httpx.MockTransport(service))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["dse", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    for module in (beacons, jobs):
        monkeypatch.setattr(module, "Client", connect)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    return run


def test_beacons_are_a_table_with_units(dse: Dse, capsys: pytest.CaptureFixture[str]) -> None:
    assert dse("beacons", "latest") == 0

    told = capsys.readouterr().out
    for text in ("error before [%]", "21.5", "mean gain [points]", "7.25", "4,8 / 8,8"):
        assert text in told
    assert "FAILED: loss is [nan]" in told


def test_beacons_as_json_are_as_rest_has_them(
    dse: Dse, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dse("beacons", "--json") == 0

    items = json.loads(capsys.readouterr().out)["items"]
    assert [(b["number"], b["state"]) for b in items] == [(1, "READY"), (2, "FAILED")]
    assert items[0]["curve"][1] == {"step": 50, "loss": 1.5, "error": 21.5}


def test_weights_are_written_where_asked(
    dse: Dse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.safetensors"
    monkeypatch.chdir(tmp_path)

    assert dse("beacons", "latest", "--download", "1", "--output", str(path)) == 0
    assert dse("beacons", "--download", "1") == 0

    assert path.read_bytes() == (tmp_path / "beacon-1.safetensors").read_bytes() == WEIGHTS
    told = capsys.readouterr().out.splitlines()
    assert told == [f"wrote {path}", "wrote beacon-1.safetensors"]


def test_a_beacon_without_weights_is_an_error_and_no_file(
    dse: Dse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.safetensors"

    assert dse("beacons", "latest", "--download", "2", "--output", str(path)) == 1

    assert "dse: beacon 2 has no weights" in capsys.readouterr().err
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--output", "x"], "--output needs --download N"),
        (["--json", "--download", "1"], "--json and --download exclude each other"),
        (["--download", "0"], "Input should be greater than or equal to 1"),
        (["--download", "1", "--output", "no/folder/x"], "the folder of no/folder/x must exist"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    dse: Dse, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dse("beacons", "latest", *arguments) == 2

    assert told in " ".join(capsys.readouterr().err.split())


def test_the_front_shows_both_errors_where_beacons_were_used(
    dse: Dse, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("front")
    before = capsys.readouterr().out
    reading = {"number": 3, "distance": 2.5, "error": 21.0}
    service.front_items = [evaluation_data(1, origin="beacon 3", base_error=30.25, beacon=reading)]

    assert dse("front") == 0

    told = capsys.readouterr().out
    for text in ("base error [%]", "error on beacon [%]", "distance", "beacon 3", "30.25"):
        assert text in told
        assert text not in before
