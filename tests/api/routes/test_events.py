import json
import threading
import time

import httpx
import pytest
from sqlalchemy import Engine

from api.app import create_app
from api.settings import Settings
from storage.engine import make_engine, upgrade
from storage.tables import JobState
from tests.api.problems import problem_of
from tests.api.served import served
from tests.api.stored_runs import add_job, advance, finish, finished_job, take

STREAM = {"Accept": "text/event-stream"}


def events_of(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block.startswith("id: ")]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


def test_a_stream_says_what_its_events_are(service: httpx.Client, engine: Engine) -> None:
    job_id = finished_job(engine, generations=2)

    response = service.get(f"/v1/jobs/{job_id}/events", headers=STREAM)

    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    found = events_of(response.text)
    assert [int(e["id"]) for e in found] == [1, 2, 3, 4, 5]
    for told in found:
        data = json.loads(told["data"])
        assert set(data) == {"seq", "kind", "at", "data"}
        assert (str(data["seq"]), data["kind"]) == (told["id"], told["event"])
    assert json.loads(found[-1]["data"])["data"]["state"] == "SUCCEEDED"


@pytest.mark.parametrize(
    ("headers", "query"),
    [({"Last-Event-ID": "3"}, ""), ({}, "?after=3"), ({"Last-Event-ID": "3"}, "?after=1")],
)
def test_a_stream_goes_on_where_it_broke_off(
    service: httpx.Client, engine: Engine, headers: dict[str, str], query: str
) -> None:
    job_id = finished_job(engine, generations=2)

    response = service.get(f"/v1/jobs/{job_id}/events{query}", headers={**STREAM, **headers})

    assert [int(e["id"]) for e in events_of(response.text)] == [4, 5]


def test_a_client_sees_a_running_job_to_its_end(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)
    lease = take(engine, job_id)

    def go_on() -> None:
        advance(engine, lease, 0)
        finish(engine, lease, JobState.FAILED, error="it broke")

    with service.stream("GET", f"/v1/jobs/{job_id}/events", headers=STREAM) as response:
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith("id: ")) == "id: 1"
        driver = threading.Thread(target=go_on)
        driver.start()
        rest = "\n".join(lines)
        driver.join()

    assert [int(e["id"]) for e in events_of(rest)][-2:] == [3, 4]
    assert "it broke" in rest


def test_without_the_media_type_events_are_a_list(service: httpx.Client, engine: Engine) -> None:
    job_id = finished_job(engine, generations=3)
    path = f"/v1/jobs/{job_id}/events"

    first = service.get(path, params={"page_size": 2, "after": 1}).json()
    token = first["next_page_token"]
    second = service.get(path, params={"page_size": 200, "after": 1, "page_token": token}).json()

    assert [e["seq"] for e in first["items"]] == [2, 3]
    assert [e["seq"] for e in second["items"]] == [4, 5, 6]
    assert second["next_page_token"] is None


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "9" * 30, "²"])
def test_a_wrong_last_event_id_is_refused(
    service: httpx.Client, engine: Engine, given: str
) -> None:
    headers = {b"Accept": b"text/event-stream", b"Last-Event-ID": given.encode()}

    response = service.get(f"/v1/jobs/{add_job(engine)}/events", headers=headers)

    problem = problem_of(response, 422, "invalid_request")
    assert problem.errors[0].pointer == "#header/last-event-id"


def test_the_stream_of_no_job_is_a_problem(service: httpx.Client) -> None:
    response = service.get(f"/v1/jobs/{'0' * 32}/events", headers=STREAM)

    problem_of(response, 404, "not_found")


def test_open_streams_do_not_hold_up_the_end_of_the_service(nowhere: Settings) -> None:
    engine = make_engine(nowhere.database_url)
    upgrade(engine)
    job_id = add_job(engine)
    with httpx.Client(timeout=30) as client:
        with served(create_app(nowhere, engine)) as address:
            url = f"{address}/v1/jobs/{job_id}/events"
            response = client.send(client.build_request("GET", url, headers=STREAM), stream=True)
            chunks = response.iter_text()
            next(chunks)
            start = time.monotonic()
        ended = time.monotonic() - start
        "".join(chunks)  # complete, not cut off
    engine.dispose()

    assert ended < 5
