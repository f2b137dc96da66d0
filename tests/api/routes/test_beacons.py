import hashlib
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine

from api.settings import Settings
from tests.api.problems import problem_of
from tests.api.stored_runs import WEIGHTS, add_job, finished_job, job_with_beacons

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture(scope="module")
def job(engine: Engine, settings: Settings) -> str:
    return job_with_beacons(engine, settings.home)


@pytest.fixture
def file(settings: Settings) -> Path:
    return settings.home / "beacons" / f"{SHA256}.safetensors"


def test_beacons_are_listed_with_what_came_of_them(service: httpx.Client, job: str) -> None:
    page = service.get(f"/v1/jobs/{job}/beacons").json()

    ready, failed, lost = page["items"]
    assert page["next_page_token"] is None
    assert [b["number"] for b in page["items"]] == [1, 2, 3]
    assert [b["state"] for b in page["items"]] == ["READY", "FAILED", "LOST"]
    assert (ready["sha256"], ready["size"], ready["reason"]) == (SHA256, len(WEIGHTS), None)
    assert (ready["served"], ready["mean_gain"]) == (4, pytest.approx(4.0))
    assert (ready["steps"], ready["seed"], ready["best_step"], ready["seconds"]) == (
        100,
        1,
        50,
        9.5,
    )
    assert ready["curve"][:2] == [
        {"step": 0, "loss": None, "error": 12.5},
        {"step": 50, "loss": 1.5, "error": 6.5},
    ]
    assert ready["base_error"] - ready["error"] == pytest.approx(12.0 + 4 / 7 - 6.5)
    assert (failed["sha256"], failed["curve"], failed["reason"]) == (
        None,
        [],
        "FAILED: loss is nan",
    )
    assert (lost["sha256"], lost["reason"], lost["served"]) == ("3" * 64, "its file is missing", 0)


def test_evaluations_say_whose_weights_they_come_from(service: httpx.Client, job: str) -> None:
    items = service.get(f"/v1/jobs/{job}/evaluations").json()["items"]

    by_origin = {
        origin: [e for e in items if e["origin"] == origin] for origin in ("base", "beacon 1")
    }
    assert [len(found) for found in by_origin.values()] == [5, 4]
    for e in by_origin["base"]:
        assert (e["base_error"], e["beacon"]) == (e["metrics"]["error"], None)
    for e in by_origin["beacon 1"]:
        error = e["metrics"]["error"]
        assert e["beacon"] == {"number": 1, "distance": 2.5, "error": error}
        assert e["base_error"] == pytest.approx(error + 4.0)


def test_the_document_lists_them_without_times(service: httpx.Client, job: str) -> None:
    listed = service.get(f"/v1/jobs/{job}/beacons").json()["items"]

    document = service.get(f"/v1/jobs/{job}/document").json()

    timeless = [{k: v for k, v in b.items() if k != "seconds"} for b in listed]
    assert document["beacons"] == timeless


def test_a_job_without_beacons_has_an_empty_list(service: httpx.Client, engine: Engine) -> None:
    for job_id in (add_job(engine), finished_job(engine)):
        assert service.get(f"/v1/jobs/{job_id}/beacons").json()["items"] == []


def test_weights_are_served_as_a_file_with_their_digest(service: httpx.Client, job: str) -> None:
    response = service.get(f"/v1/jobs/{job}/beacons/1/weights")

    assert response.content == WEIGHTS
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["ETag"] == f'"{SHA256}"'
    assert response.headers["Content-Disposition"] == (
        f'attachment; filename="beacon-1-{SHA256[:10]}.safetensors"'
    )
    again = service.get(
        f"/v1/jobs/{job}/beacons/1/weights", headers={"If-None-Match": f'"{SHA256}"'}
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("known", [{}, {"If-None-Match": f'"{SHA256}"'}], ids=["new", "known"])
@pytest.mark.parametrize(
    "altered", [b"", WEIGHTS[:-1], WEIGHTS[:-1] + b"!", WEIGHTS + b"!", None], ids=str
)
def test_wrong_bytes_are_never_served(
    service: httpx.Client, job: str, file: Path, altered: bytes | None, known: dict[str, str]
) -> None:
    if altered is None:
        file.unlink()
    else:
        file.write_bytes(altered)
    try:
        response = service.get(f"/v1/jobs/{job}/beacons/1/weights", headers=known)

        told = problem_of(response, 410, "gone").detail
        assert ("missing" if altered is None else "altered") in told
    finally:
        file.write_bytes(WEIGHTS)


def test_a_lost_beacon_has_no_weights_and_a_failed_one_never_had(
    service: httpx.Client, job: str
) -> None:
    lost = problem_of(service.get(f"/v1/jobs/{job}/beacons/3/weights"), 410, "gone")
    failed = problem_of(service.get(f"/v1/jobs/{job}/beacons/2/weights"), 404, "not_found")

    assert "missing" in lost.detail
    assert failed.detail == "beacon 2 has no weights: FAILED: loss is nan"


@pytest.mark.parametrize("number", ["4", "99999999999999999999999"])
def test_a_beacon_that_is_not_there_is_told_which_are(
    service: httpx.Client, job: str, number: str
) -> None:
    problem = problem_of(service.get(f"/v1/jobs/{job}/beacons/{number}/weights"), 404, "not_found")

    assert "allowed: 1, 2, 3" in problem.detail


@pytest.mark.parametrize("number", ["0", "-1", "one", "1.5"])
def test_a_number_that_is_none_is_refused(service: httpx.Client, job: str, number: str) -> None:
    response = service.get(f"/v1/jobs/{job}/beacons/{number}/weights")

    assert problem_of(response, 422, "invalid_request").errors[0].pointer == "#path/number"


def test_another_job_s_weights_are_not_found_here(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)

    problem_of(service.get(f"/v1/jobs/{job_id}/beacons/1/weights"), 404, "not_found")
    problem_of(service.get(f"/v1/jobs/{'0' * 32}/beacons"), 404, "not_found")
    problem_of(service.get(f"/v1/jobs/{'0' * 32}/beacons/1/weights"), 404, "not_found")
