import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import yaml
from sqlalchemy import Engine

from api.views import JobDetail, JobView
from storage.tables import JobState
from tests.api.problems import problem_of
from tests.api.stored_runs import add_job, finished_job, spec_data, state_of

EXAMPLES = Path(__file__).parents[3] / "examples"


def all_ids(service: httpx.Client, **params: str | int) -> list[str]:
    found, token = [], None
    while True:
        page = service.get(
            "/v1/jobs", params={**params, **({"page_token": token} if token else {})}
        )
        found += [job["id"] for job in page.json()["items"]]
        token = page.json()["next_page_token"]
        if token is None:
            return found


def test_a_submitted_job_is_queued_and_told_where_it_is(
    service: httpx.Client, engine: Engine
) -> None:
    response = service.post("/v1/jobs", json=spec_data("first"))

    job = JobView.model_validate(response.json())
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{job.id}"
    assert response.headers["Retry-After"] == "1"
    assert response.headers["ETag"] == '"1"'
    assert (job.name, job.state, job.generation, job.generations) == ("first", "READY", -1, 5)
    assert job.hypervolume is None
    assert state_of(engine, job.id) is JobState.READY


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", ["application/yaml", "text/yaml; charset=utf-8"])
def test_the_examples_can_be_submitted_as_they_are(
    service: httpx.Client, path: Path, kind: str
) -> None:
    if "mohaq-sru" in path.read_text():
        pytest.skip("a shape alone can be costed, not searched")
    response = service.post("/v1/jobs", content=path.read_bytes(), headers={"Content-Type": kind})

    assert response.status_code == 202, response.text
    stored = service.get(response.headers["Location"]).json()["spec"]
    assert stored["name"] == yaml.safe_load(path.read_text())["name"]


@pytest.mark.parametrize("name", ["«ü»", "音声 🎤", "a/b?c#d%20", "' OR 1=1; --", "\u202e"])
def test_any_name_is_kept(service: httpx.Client, name: str) -> None:
    response = service.post("/v1/jobs", json=spec_data(name))

    assert response.json()["name"] == name
    assert service.get(response.headers["Location"]).json()["name"] == name


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"search": {"population": "many"}}, "/search/population", "invalid_spec"),
        ({"search": {"population": 1}}, "/search/population", "invalid_spec"),
        ({"objectives": []}, "/objectives", "invalid_spec"),
        ({"colour": "red"}, "/colour", "invalid_spec"),
        ({"a/b~c": 1}, "/a~1b~0c", "invalid_spec"),
        ({"constraints": [{"metric": "error"}]}, "/constraints/0", "invalid_spec"),
        ({"workload": {"name": "nothing"}}, "/workload/name", "unknown_name"),
        ({"platforms": [{"name": "abacus"}]}, "/platforms/0/name", "unknown_name"),
        ({"knobs": [{"knob": "volume", "choices": [1]}]}, "/knobs/0/knob", "unknown_name"),
        ({"objectives": ["error", "joy"]}, "/objectives/1", "unknown_name"),
        ({"objectives": ["error", "area_um2"]}, "/objectives/1", "invalid_spec"),
        ({"constraints": [{"metric": "joy", "max": 1}]}, "/constraints/0/metric", "unknown_name"),
        (
            {"constraints": [{"metric": "speedup", "max_increase": 1}]},
            "/constraints/0/max_increase",
            "invalid_spec",
        ),
        ({"totals": {"speedup": ["a.b"]}}, "/totals/speedup/0", "unknown_name"),
        ({"knobs": [{"knob": "psum_bits", "choices": [4]}]}, "/knobs/0/knob", "invalid_spec"),
        ({"knobs": [{"knob": "w_bits", "choices": [99]}]}, "/knobs/0/choices", "invalid_spec"),
        (
            {"knobs": [{"knob": "w_bits", "layers": "no*", "choices": [4, 8]}]},
            "/knobs/0/layers",
            "invalid_spec",
        ),
        ({"knobs": [{"knob": "w_bits", "choices": [4]}]}, "/knobs", "invalid_spec"),
        (
            {"platforms": [{"name": "bitfusion", "params": {"mode": "x"}}]},
            "/platforms/0/params",
            "invalid_spec",
        ),
        ({"workload": {"name": "resnet18"}}, "/workload/name", "invalid_spec"),
        (
            {"beacons": {"enabled": True, "gates": {"joy": {"min": 1}}}},
            "/beacons/gates/joy",
            "invalid_spec",
        ),
        (
            {"beacons": {"enabled": True, "knob_weights": {"joy": 1}}},
            "/beacons/knob_weights/joy",
            "unknown_name",
        ),
        ({"beacons": {"step": 1}}, "/beacons/step", "invalid_spec"),
        ({"beacons": {"distance": float("inf")}}, "/beacons/distance", "invalid_spec"),
    ],
)
def test_a_wrong_field_is_pointed_at(
    service: httpx.Client, changes: dict[str, object], pointer: str, code: str
) -> None:
    body = json.dumps({**spec_data(), **changes})  # httpx would refuse what is not finite
    response = service.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    problem = problem_of(response, 422, code)
    assert pointer in [error.pointer for error in problem.errors]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[]", "does not hold"),
        (b"null", "does not hold"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"name": NaN}', "/name: numbers must be finite, got NaN"),
        (b'{"a": [1, {"b": -1e400}]}', "/a/1/b: numbers must be finite, got -Infinity"),
        (b'{"\\ud800": NaN}', "/\\ud800: numbers must be finite, got NaN"),
        (b"NaN", "the job spec: numbers must be finite, got NaN"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "a: no such field"),
        (b'{"name": "a", "name": "b"}', "'name' stands twice"),
        (b'{"priority": ' + b"9" * 5000 + b"}", "no JSON"),
    ],
)
def test_a_body_that_is_no_spec_is_told_why(service: httpx.Client, body: bytes, said: str) -> None:
    response = service.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    assert said in problem_of(response, 422, "invalid_spec").detail


@pytest.mark.parametrize("sign", ["\\u0000", "\\ud800"])
def test_texts_that_no_database_holds_are_refused(service: httpx.Client, sign: str) -> None:
    spec = spec_data(platforms=[{"name": "bitfusion", "params": {"mode": "SIGN"}}])
    body = json.dumps(spec).replace("SIGN", sign)

    response = service.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})

    problem = problem_of(response, 422, "invalid_spec")
    assert "/platforms/0/params/mode" in problem.detail
    assert [error.pointer for error in problem.errors] == ["/platforms/0/params/mode"]


def test_a_yaml_bomb_is_refused(service: httpx.Client) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]

    response = service.post(
        "/v1/jobs", content="\n".join(lines), headers={"Content-Type": "application/yaml"}
    )

    assert "unfolds to at most" in problem_of(response, 422, "invalid_spec").detail


def test_a_megabyte_of_small_yaml_is_refused_soon(service: httpx.Client) -> None:
    response = service.post(
        "/v1/jobs",
        content="a: [" + "1," * 490_000 + "1]",
        headers={"Content-Type": "application/yaml"},
    )

    assert "YAML nodes" in problem_of(response, 422, "invalid_spec").detail
    assert response.elapsed.total_seconds() < 10


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_media_type_is_refused(service: httpx.Client, kind: str) -> None:
    response = service.post("/v1/jobs", content=b"{}", headers={"Content-Type": kind})

    problem = problem_of(response, 415, "unsupported_media_type")
    assert "application/json, application/yaml, text/yaml" in problem.detail


def test_nothing_refused_is_queued(service: httpx.Client) -> None:
    before = all_ids(service)

    service.post("/v1/jobs", json=spec_data(workload={"name": "mohaq-sru"}))
    service.post("/v1/jobs", json=spec_data(objectives=["joy"]))

    assert all_ids(service) == before


def test_the_same_key_and_body_give_the_same_job(service: httpx.Client) -> None:
    headers = {"Idempotency-Key": "once"}

    first = service.post("/v1/jobs", json=spec_data(), headers=headers)
    again = service.post("/v1/jobs", json=spec_data(), headers=headers)

    assert "Idempotency-Replayed" not in first.headers
    assert again.status_code == 202
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()


def test_the_same_key_with_another_body_is_a_mismatch(service: httpx.Client) -> None:
    headers = {"Idempotency-Key": "twice"}
    service.post("/v1/jobs", json=spec_data("one"), headers=headers)

    response = service.post("/v1/jobs", json=spec_data("two"), headers=headers)

    problem_of(response, 422, "idempotency_mismatch")


def test_a_key_sent_many_times_at_once_makes_one_job(service: httpx.Client) -> None:
    def send(_: int) -> str:
        response = service.post(
            "/v1/jobs", json=spec_data("storm"), headers={"Idempotency-Key": "storm"}
        )
        return str(response.json()["id"])

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(send, range(16)))

    assert len(ids) == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "é"])
def test_a_key_that_is_none_is_refused(service: httpx.Client, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}

    response = service.post("/v1/jobs", json=spec_data(), headers=headers)

    problem = problem_of(response, 422, "invalid_request")
    assert problem.errors[0].pointer == "#header/idempotency-key"


def test_pages_together_are_the_list_while_jobs_come_in(
    service: httpx.Client, engine: Engine
) -> None:
    for i in range(5):
        add_job(engine, f"listed {i}")
    expected = all_ids(service, page_size=200)
    found, token = [], None

    while True:
        params = {"page_size": "2", **({"page_token": token} if token else {})}
        page = service.get("/v1/jobs", params=params).json()
        found += [job["id"] for job in page["items"]]
        add_job(engine, "later")
        token = page["next_page_token"]
        if token is None:
            break

    assert found == expected
    assert found == sorted(found, reverse=True)


def test_a_list_of_one_state_holds_it_alone(service: httpx.Client, engine: Engine) -> None:
    job_id = finished_job(engine)

    found = service.get("/v1/jobs", params={"state": "SUCCEEDED"}).json()["items"]

    assert job_id in [job["id"] for job in found]
    assert {job["state"] for job in found} == {"SUCCEEDED"}


def test_too_large_a_page_is_cut_and_too_small_a_one_refused(service: httpx.Client) -> None:
    assert service.get("/v1/jobs", params={"page_size": 10**9}).status_code == 200

    problem = problem_of(service.get("/v1/jobs?page_size=0"), 422, "invalid_request")

    assert problem.errors[0].pointer == "#query/page_size"


def test_a_token_of_another_list_is_refused(service: httpx.Client, engine: Engine) -> None:
    add_job(engine), add_job(engine)
    token = service.get("/v1/jobs?page_size=1").json()["next_page_token"]

    for params in ({"page_token": token, "state": "READY"}, {"page_token": "nonsense"}):
        problem = problem_of(service.get("/v1/jobs", params=params), 400, "invalid_request")
        assert problem.errors[0].pointer == "#query/page_token"


def test_a_job_is_shown_with_its_spec_and_counts(service: httpx.Client, engine: Engine) -> None:
    job_id = finished_job(engine, "counted", generations=3)

    response = service.get(f"/v1/jobs/{job_id}")

    job = JobDetail.model_validate(response.json())
    assert (job.designs, job.networks_run, job.front_size) == (12, 12, 3)
    assert (job.generation, job.generations, job.hypervolume) == (2, 3, 102.0)
    assert job.reference_point == {"error": 40.0, "speedup": 1.0}
    assert job.spec["name"] == "counted"
    assert response.headers["ETag"] == f'"{job.version}"'


def test_an_unchanged_job_is_not_sent_again(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)
    tag = service.get(f"/v1/jobs/{job_id}").headers["ETag"]

    for header in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        same = service.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": header})
        assert (same.status_code, same.content) == (304, b"")
    service.post(f"/v1/jobs/{job_id}:pause")
    changed = service.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": tag})

    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
