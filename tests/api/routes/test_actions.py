import httpx
import pytest
from sqlalchemy import Engine

from storage.tables import JobState
from tests.api.problems import problem_of
from tests.api.stored_runs import add_job, advance, finish, finished_job, state_of, take


def test_a_stale_client_changes_nothing(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)
    tag = service.get(f"/v1/jobs/{job_id}").headers["ETag"]
    service.post(f"/v1/jobs/{job_id}:pause", headers={"If-Match": tag})

    for action in (":cancel", ":pause", ":resume"):
        response = service.post(f"/v1/jobs/{job_id}{action}", headers={"If-Match": tag})
        problem_of(response, 412, "stale")
    response = service.post(
        f"/v1/jobs/{job_id}:extend", json={"generations": 9}, headers={"If-Match": tag}
    )
    problem_of(response, 412, "stale")
    problem_of(service.delete(f"/v1/jobs/{job_id}", headers={"If-Match": tag}), 412, "stale")

    assert state_of(engine, job_id) is JobState.PAUSED


def test_actions_do_what_they_say_and_may_be_repeated(
    service: httpx.Client, engine: Engine
) -> None:
    job_id = add_job(engine)

    for action, state in (("pause", "PAUSED"), ("resume", "READY"), ("cancel", "CANCELLED")):
        once = service.post(f"/v1/jobs/{job_id}:{action}")
        twice = service.post(f"/v1/jobs/{job_id}:{action}")

        assert (once.status_code, once.json()["state"]) == (200, state)
        assert twice.json() == once.json()
        assert twice.headers["ETag"] == f'"{once.json()["version"]}"'


def test_a_running_job_is_asked_to_stop(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)
    take(engine, job_id)

    paused = service.post(f"/v1/jobs/{job_id}:pause").json()
    cancelled = service.post(f"/v1/jobs/{job_id}:cancel").json()

    assert (paused["state"], paused["pause_requested"]) == ("LEASED", True)
    assert cancelled["cancel_requested"]


def test_an_action_that_the_state_forbids_names_both(
    service: httpx.Client, engine: Engine
) -> None:
    job_id = finished_job(engine)

    problem = problem_of(service.post(f"/v1/jobs/{job_id}:cancel"), 409, "conflict")

    assert "is SUCCEEDED" in problem.detail
    assert "allowed: READY, LEASED, PAUSED" in problem.detail


def test_a_finished_job_can_be_made_longer(service: httpx.Client, engine: Engine) -> None:
    job_id = finished_job(engine, generations=2)

    response = service.post(f"/v1/jobs/{job_id}:extend", json={"generations": 7})

    assert response.status_code == 200
    assert (response.json()["state"], response.json()["generations"]) == ("READY", 7)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_request"),
        ({"generations": "9"}, "invalid_request"),
        ({"generations": 10**9}, "invalid_request"),
        ({"generations": 9, "more": 1}, "invalid_request"),
        ({"generations": 1}, "invalid_spec"),
    ],
)
def test_a_wrong_extension_is_pointed_at(
    service: httpx.Client, engine: Engine, body: dict[str, object], code: str
) -> None:
    job_id = finished_job(engine, generations=2)

    problem = problem_of(service.post(f"/v1/jobs/{job_id}:extend", json=body), 422, code)

    assert problem.errors[0].pointer in ("/generations", "/more")


def test_a_copy_is_another_job_with_what_was_changed(
    service: httpx.Client, engine: Engine
) -> None:
    job_id = finished_job(engine, "original")
    original = service.get(f"/v1/jobs/{job_id}").json()["spec"]

    plain = service.post(f"/v1/jobs/{job_id}:clone")
    changed = service.post(
        f"/v1/jobs/{job_id}:clone", json={"name": "copy", "search": {"seed": 9}}
    )

    assert plain.status_code == changed.status_code == 202
    assert service.get(plain.headers["Location"]).json()["spec"] == original
    search = {**original["search"], "seed": 9}
    expected = {**original, "name": "copy", "search": search}
    assert service.get(changed.headers["Location"]).json()["spec"] == expected


def test_a_copy_with_a_wrong_field_is_refused(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)

    response = service.post(f"/v1/jobs/{job_id}:clone", json={"search": {"population": -1}})

    assert problem_of(response, 422, "invalid_spec").errors[0].pointer == "/search/population"


def test_a_copy_can_be_asked_for_twice(service: httpx.Client, engine: Engine) -> None:
    job_id, headers = add_job(engine), {"Idempotency-Key": "copy"}

    first, again = (
        service.post(f"/v1/jobs/{job_id}:clone", json={"name": "c"}, headers=headers)
        for _ in range(2)
    )

    assert first.json()["id"] == again.json()["id"]
    assert again.headers["Idempotency-Replayed"] == "true"


def test_a_deleted_job_is_gone(service: httpx.Client, engine: Engine) -> None:
    job_id = finished_job(engine)

    response = service.delete(f"/v1/jobs/{job_id}")

    assert (response.status_code, response.content) == (204, b"")
    for path in ("", "/front", "/events", "/generations", "/document"):
        problem_of(service.get(f"/v1/jobs/{job_id}{path}"), 404, "not_found")


def test_a_running_job_is_not_deleted(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)
    lease = take(engine, job_id)
    advance(engine, lease, 0)

    problem_of(service.delete(f"/v1/jobs/{job_id}"), 409, "conflict")
    finish(engine, lease, JobState.FAILED, error="it broke")

    assert service.get(f"/v1/jobs/{job_id}").json()["error"] == "it broke"
    assert service.delete(f"/v1/jobs/{job_id}").status_code == 204
