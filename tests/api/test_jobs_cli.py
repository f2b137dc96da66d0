import csv
import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from api import cli
from api.commands import jobs
from dse.client import Client, Job, Timing
from tests.dse.client.fakes import FakeService, evaluation_data, problem

SPEC = """
name: from a file
workload: {name: sru-phones}
platforms: [{name: bitfusion}]
knobs: [{knob: w_bits, choices: [2, 4]}]
objectives: [error, speedup]
search: {generations: 3}
"""

Dse = Callable[..., int]


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def spec(tmp_path: Path) -> str:
    file = tmp_path / "search.yaml"
    file.write_text(SPEC)
    return str(file)


@pytest.fixture
def dse(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> Dse:
    """Runs a command against `service` and returns its exit code."""

    def connect(url: str | None) -> Client:
        return Client(url, transport=httpx.MockTransport(service))

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["dse", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    monkeypatch.setattr(jobs, "Client", connect)
    monkeypatch.setattr(signal, "signal", lambda *given: None)
    return run


def test_submit_prints_the_id_and_how_to_follow_it(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dse("submit", spec) == 0

    assert capsys.readouterr().out == "job job000 is READY; follow it: dse watch job000\n"


def test_submit_as_json_prints_id_and_state_alone(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dse("submit", spec, "--json") == 0

    told = capsys.readouterr()
    assert json.loads(told.out) == {"id": "job000", "state": "READY"}
    assert told.err == ""


def test_watch_tells_each_event_and_how_it_ended(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)
    capsys.readouterr()

    assert dse("watch") == 0

    told = capsys.readouterr()
    assert told.out == (
        "job job000 has SUCCEEDED: 2 designs on the front, hypervolume 0.5; "
        "see it: dse front job000\n"
    )
    assert told.err.splitlines()[1] == (
        "12:00:00 generation.finished: generation 0, front 1, hypervolume 0.5"
    )
    assert len(told.err.splitlines()) == 5


@pytest.mark.parametrize("outcome", ["FAILED", "POISONED", "CANCELLED", "PAUSED"])
def test_watch_fails_when_the_job_does_not_succeed(
    dse: Dse, spec: str, service: FakeService, outcome: str, capsys: pytest.CaptureFixture[str]
) -> None:
    service.outcome = outcome
    dse("submit", spec)

    assert dse("watch", "job000") == 1

    assert f"dse: job job000 is {outcome}" in capsys.readouterr().err


def test_front_is_a_table_with_units(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)

    assert dse("front", "latest") == 0

    told = capsys.readouterr().out
    assert "error [%]" in told
    assert "memory_mib [MiB]" in told
    assert "4,8 / 8,8" in told


def test_front_as_json_is_what_rest_answers(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)
    capsys.readouterr()

    assert dse("front", "--json") == 0

    assert json.loads(capsys.readouterr().out) == {
        "objectives": ["error", "speedup"],
        "items": [evaluation_data(1), evaluation_data(2)],
    }


def test_front_as_csv_has_a_row_for_each_design(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)
    capsys.readouterr()

    assert dse("front", "--csv") == 0

    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["error"] for row in rows] == ["21.0", "22.0"]
    assert rows[0]["w_bits@L0"] == "4"


def test_front_shows_what_another_platform_says_and_why_it_does_not(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)

    assert dse("front", "--recost", "zigzag") == 0

    told = capsys.readouterr().out
    assert "zigzag energy_uj [uJ]" in told
    assert "2.5" in told
    assert "layer L0: ZigZag took longer than 60 s" in told


def test_recosts_as_json_stand_beside_their_designs(
    dse: Dse, spec: str, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)
    capsys.readouterr()

    assert dse("front", "--recost", "zigzag", "--param", "pci=16", "--json") == 0

    document = json.loads(capsys.readouterr().out)
    assert json.loads(service.requests[-1].content)["params"] == {"pci": 16}
    assert document["platform"] == "zigzag"
    assert [item["recost"]["costs"] for item in document["items"]] == [
        {"energy_uj": None},
        {"energy_uj": 2.5},
    ]


@pytest.mark.parametrize(
    "options", [("--param", "pci=16"), ("--recost", "zigzag", "--csv"), ("--recost", "no-chip")]
)
def test_recosts_that_make_no_sense_are_refused(
    dse: Dse, spec: str, options: tuple[str, ...]
) -> None:
    dse("submit", spec)

    assert dse("front", *options) == 2


def test_front_has_one_form_at_a_time(dse: Dse, capsys: pytest.CaptureFixture[str]) -> None:
    assert dse("front", "--csv", "--json") == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "state"),
    [
        (("pause", "latest"), "PAUSED"),
        (("cancel", "latest"), "CANCELLED"),
        (("resume", "latest"), "READY"),
        (("extend", "latest", "--generations", "9"), "READY"),
    ],
)
def test_each_action_tells_the_state_it_led_to(
    dse: Dse,
    spec: str,
    service: FakeService,
    arguments: tuple[str, ...],
    state: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dse("submit", spec)
    capsys.readouterr()

    assert dse(*arguments) == 0

    assert capsys.readouterr().out == f"job job000 is {state}\n"
    assert service.jobs["job000"]["state"] == state


def test_request_that_a_worker_will_see_is_told_as_such(
    dse: Dse, spec: str, service: FakeService, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)
    job = service.jobs["job000"]
    capsys.readouterr()

    job["pause_requested"] = True
    dse("resume", "latest")
    job["cancel_requested"] = True
    dse("resume", "latest")

    assert capsys.readouterr().out == (
        "job job000 is READY; it pauses within seconds\n"
        "job job000 is READY; it ends within seconds\n"
    )


def test_jobs_lists_the_youngest_first(
    dse: Dse, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)
    dse("submit", spec)
    capsys.readouterr()

    assert dse("jobs", "--json", "--limit", "1") == 0
    first = json.loads(capsys.readouterr().out)["items"]
    assert dse("jobs") == 0
    table = capsys.readouterr().out

    assert [job["id"] for job in first] == ["job001"]
    assert table.index("job001") < table.index("job000")
    assert "0 of 3" in table


def test_job_is_found_by_the_beginning_of_its_id(
    dse: Dse, spec: str, service: FakeService
) -> None:
    for _ in range(11):
        dse("submit", spec)

    assert dse("pause", "job01") == 0

    assert service.jobs["job010"]["state"] == "PAUSED"


@pytest.mark.parametrize("told", ["job00", "nothing"])
def test_job_that_cannot_be_told_from_others_is_refused(
    dse: Dse, spec: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dse("submit", spec)
    dse("submit", spec)

    assert dse("cancel", told) == 2

    assert f"unknown job '{told}'; allowed: latest, job001, job000" in capsys.readouterr().err


def test_latest_of_no_jobs_is_refused(dse: Dse, capsys: pytest.CaptureFixture[str]) -> None:
    assert dse("front", "latest") == 2
    assert "the service has no jobs" in capsys.readouterr().err


def test_spec_that_does_not_hold_is_wrong_usage(
    dse: Dse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text("name: x")

    assert dse("submit", str(tmp_path / "bad.yaml")) == 2

    assert "workload: Field required" in capsys.readouterr().err


def test_refusal_of_the_server_is_told_with_its_fields(
    dse: Dse, spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"pointer": "/workload/name", "detail": "unknown workload"}
    answer = problem(422, "unknown_name", detail="it does not hold", errors=[wrong])
    monkeypatch.setattr(FakeService, "__call__", lambda self, request: answer)

    assert dse("submit", spec) == 2

    assert capsys.readouterr().err == (
        "dse: it does not hold\n  /workload/name: unknown workload\n"
    )


def test_service_that_does_not_run_says_how_to_start_it(
    dse: Dse, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("Connection refused")

    def connect(url: str | None) -> Client:
        timing = Timing(sleep=lambda seconds: None)
        return Client(url, transport=httpx.MockTransport(refuse), timing=timing)

    monkeypatch.setattr(jobs, "Client", connect)

    assert dse("jobs", "--server", "http://127.0.0.1:9") == 1

    assert capsys.readouterr().err == (
        "dse: cannot reach a server at http://127.0.0.1:9 (Connection refused): "
        "start it with `dse serve`\n"
    )


def test_interrupted_watch_leaves_the_job_alone(
    dse: Dse,
    spec: str,
    service: FakeService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*given: object, **options: object) -> None:
        raise KeyboardInterrupt

    dse("submit", spec)
    monkeypatch.setattr(Job, "wait", interrupted)

    assert dse("watch") == 130

    assert "job job000 runs on" in capsys.readouterr().err
    assert service.jobs["job000"]["state"] == "READY"
