import json
from pathlib import Path

import httpx
import pytest

from dse.client import Client, JobState
from dse.errors import SpecError
from dse.spec import spec_from_data
from tests.dse.client.fakes import FakeService, Script, client_of, job_data, pages

SPEC = {
    "workload": {"name": "sru-phones"},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 4]}],
    "objectives": ["error"],
}
ACCEPTED = httpx.Response(202, json=job_data())


def test_spec_is_sent_as_it_was_written_whatever_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "search.yaml"
    file.write_text(json.dumps(SPEC))
    script = Script(ACCEPTED)
    client = client_of(script)

    for spec in (SPEC, spec_from_data(SPEC), file, str(file)):
        client.submit(spec)

    sent = [json.loads(request.content) for request in script.requests]
    assert sent == [SPEC] * 4
    assert script.requests[0].headers["Content-Type"] == "application/json"


def test_spec_that_does_not_hold_is_never_sent(tmp_path: Path) -> None:
    script = Script(ACCEPTED)

    with pytest.raises(SpecError, match="objectives"):
        client_of(script).submit({**SPEC, "objectives": []})
    with pytest.raises(SpecError, match="cannot read"):
        client_of(script).submit(tmp_path / "missing.yaml")

    assert script.requests == []


def test_own_idempotency_key_is_sent() -> None:
    script = Script(ACCEPTED)

    client_of(script).submit(SPEC, idempotency_key="nightly-7")

    assert script.requests[0].headers["Idempotency-Key"] == "nightly-7"


@pytest.mark.parametrize("key", ["", "a\nb", "é", "x" * 201])
def test_key_that_no_header_can_hold_is_refused(key: str) -> None:
    with pytest.raises(SpecError, match="idempotency_key must be 1 to 200"):
        client_of(Script(ACCEPTED)).submit(SPEC, idempotency_key=key)


def test_list_reads_the_next_page_only_when_it_is_needed() -> None:
    first, second = pages([job_data("c"), job_data("b")], [job_data("a")])
    script = Script(first, second)

    jobs = client_of(script).list(JobState.READY)

    assert [next(jobs).id, next(jobs).id] == ["c", "b"]
    assert len(script.requests) == 1
    assert [job.id for job in jobs] == ["a"]
    queries = [request.url.query for request in script.requests]
    assert queries == [b"state=READY", b"state=READY&page_token=token1"]


def test_jobs_of_a_list_can_be_acted_on() -> None:
    client = client_of(FakeService())
    client.submit(SPEC)

    (job,) = client.list()

    assert job.spec is None
    assert job.cancel().state == JobState.CANCELLED


@pytest.mark.parametrize("name", ["workloads", "platforms", "knobs", "metrics", "workers"])
def test_catalogues_are_lists_of_items(name: str) -> None:
    assert getattr(client_of(FakeService()), name)() == ({"name": f"one of the {name}"},)


def test_address_comes_from_the_argument_then_the_environment_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = Script(*pages([]))
    transport = httpx.MockTransport(script)

    monkeypatch.setenv("DSE_SERVER", "http://by-environment:1/prefix/")
    list(Client("http://by-argument:2", transport=transport).list())
    list(Client(transport=transport).list())
    monkeypatch.delenv("DSE_SERVER")
    list(Client(transport=transport).list())

    assert [str(request.url) for request in script.requests] == [
        "http://by-argument:2/v1/jobs",
        "http://by-environment:1/prefix/v1/jobs",
        "http://127.0.0.1:8000/v1/jobs",
    ]


def test_client_closes_its_connections_at_the_end_of_its_block() -> None:
    with client_of(FakeService()) as client:
        client.submit(SPEC)

    with pytest.raises(RuntimeError, match="closed"):
        client.knobs()
