import json
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException

from api.errors import Code, Refusal, pointer, refusal
from api.openapi import STORED
from dse.errors import (
    CacheError,
    ConflictError,
    DriftError,
    SpecError,
    StoreError,
    StoreUnavailableError,
    UnknownNameError,
)
from tests.api.problems import problem_of

PATHS: dict[str, dict[str, Any]] = json.loads(STORED.read_text(encoding="utf-8"))["paths"]
OPERATIONS = [(path, method) for path, methods in PATHS.items() for method in methods]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (SpecError("x"), 422, Code.INVALID_SPEC),
        (UnknownNameError("knob", "x", []), 422, Code.UNKNOWN_NAME),
        (UnknownNameError("job", "x", []), 404, Code.NOT_FOUND),
        (ConflictError("j", "paused", "FAILED", ["READY"]), 409, Code.CONFLICT),
        (StoreUnavailableError("x"), 503, Code.UNAVAILABLE),
        (StoreError("x"), 503, Code.UNAVAILABLE),
        (CacheError("x"), 503, Code.UNAVAILABLE),
        (DriftError("x"), 500, Code.INTERNAL),
        (KeyError("x"), 500, Code.INTERNAL),
        (HTTPException(404), 404, Code.NOT_FOUND),
        (HTTPException(405), 405, Code.INVALID_REQUEST),
        (HTTPException(413), 413, Code.TOO_LARGE),
        (Refusal(Code.STALE, "x"), 412, Code.STALE),
    ],
)
def test_each_error_has_its_status_and_code(error: Exception, status: int, code: Code) -> None:
    told = refusal(error)

    assert (told.status, told.code) == (status, code)


def test_only_what_may_pass_is_to_be_tried_again() -> None:
    assert refusal(StoreUnavailableError("locked")).headers == {"Retry-After": "1"}
    assert refusal(StoreError("broken")).headers == {}


def test_pointers_escape_as_rfc_6901_says() -> None:
    assert pointer(()) == ""
    assert pointer(("a/b", 0, "m~n", "")) == "/a~1b/0/m~0n/"


@pytest.mark.parametrize(("path", "method"), [o for o in OPERATIONS if "{job_id}" in o[0]])
def test_every_route_of_a_job_tells_in_one_way_that_there_is_none(
    service: httpx.Client, path: str, method: str
) -> None:
    url = path.replace("{job_id}", "0" * 32).replace("{name}", "front").replace("{number}", "1")
    bodies = {":extend": {"generations": 9}, ":recost": {"name": "silago"}}
    body = next((told for action, told in bodies.items() if path.endswith(action)), {})

    problem_of(service.request(method, url, json=body), 404, "not_found")


@pytest.mark.parametrize("path", PATHS)
def test_every_route_tells_in_one_way_which_methods_it_has(
    service: httpx.Client, path: str
) -> None:
    response = service.patch(path.replace("{job_id}", "0").replace("{name}", "front"))

    problem_of(response, 405, "invalid_request")
    assert response.headers["Allow"] == ", ".join(sorted(m.upper() for m in PATHS[path]))


@pytest.mark.parametrize(("path", "method"), [o for o in OPERATIONS if o[1] == "post"])
@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b"\xff", b"[" * 50_000])
def test_every_body_that_cannot_be_read_is_a_problem(
    service: httpx.Client, path: str, method: str, body: bytes
) -> None:
    if "requestBody" not in PATHS[path][method]:
        return
    url = path.replace("{job_id}", "0" * 32)

    response = service.post(url, content=body, headers={"Content-Type": "application/json"})

    problem_of(response, response.status_code, response.json()["code"])
    assert response.status_code in (400, 404, 422)


@pytest.mark.parametrize(
    "query", ["page_size=0", "page_size=x", "page_token=!", "page_token=" + "A" * 501]
)
@pytest.mark.parametrize(
    "path", [p for p, m in PATHS.items() if "page_size" in json.dumps(m.get("get", {}))]
)
def test_every_list_tells_in_one_way_what_is_wrong_with_the_query(
    service: httpx.Client, path: str, query: str
) -> None:
    response = service.get(f"{path.replace('{job_id}', '0' * 32)}?{query}")

    problem = problem_of(response, response.status_code, "invalid_request")
    assert response.status_code in (400, 422)
    assert problem.errors[0].pointer == f"#query/{query.partition('=')[0]}"


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/nothing", "/v1/jobs/", "/static/x/y", "/x"])
def test_an_unknown_path_is_a_problem(service: httpx.Client, path: str) -> None:
    problem_of(service.get(path), 404, "not_found")


def test_a_browser_gets_a_page_but_the_api_stays_data(service: httpx.Client) -> None:
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}

    page = service.get("/nothing", headers=browser)

    assert page.status_code == 404
    assert page.headers["Content-Type"].startswith("text/html")
    assert page.headers["X-Request-Id"] in page.text
    problem_of(service.get("/v1/nothing", headers=browser), 404, "not_found")
