import logging
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.settings import Settings
from dse.errors import DriftError
from tests.api.problems import problem_of
from tests.api.served import served


@pytest.fixture(scope="module")
def broken(settings: Settings) -> Iterator[httpx.Client]:
    """A service with routes that fail."""
    app: FastAPI = create_app(settings)

    def fail(kind: str) -> None:
        raise {"drift": DriftError("other designs"), "bug": RuntimeError("secret")}[kind]

    app.add_api_route("/v1/fail/{kind}", fail)
    with served(app) as address, httpx.Client(base_url=address) as client:
        yield client


def test_each_response_has_its_own_request_id(service: httpx.Client) -> None:
    ids = [service.get("/healthz").headers["X-Request-Id"] for _ in range(3)]

    assert len(set(ids)) == 3


def test_a_sane_request_id_is_kept(service: httpx.Client) -> None:
    response = service.get("/nowhere", headers={"X-Request-Id": "run-7.a_B"})

    assert problem_of(response, 404, "not_found").request_id == "run-7.a_B"


@pytest.mark.parametrize("given", ["", "a b", "a" * 101, "<script>", "ä"])
def test_another_request_id_is_replaced(service: httpx.Client, given: str) -> None:
    headers = {b"X-Request-Id": given.encode("latin1")}

    response = service.get("/healthz", headers=headers)

    assert response.headers["X-Request-Id"] not in ("", given)


def test_every_response_forbids_foreign_code_and_guessed_types(service: httpx.Client) -> None:
    for path in ("/healthz", "/v1/jobs", "/", "/nowhere"):
        headers = service.get(path).headers

        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "default-src 'none'; script-src 'self'" in headers["Content-Security-Policy"]
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("host", ["localhost", "localhost:80", "127.0.0.1:8000", "[::1]:9"])
def test_a_host_of_this_machine_is_served(service: httpx.Client, host: str) -> None:
    assert service.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "0.0.0.0", "a b"]
)
def test_a_rebound_name_is_refused(service: httpx.Client, host: str) -> None:
    response = service.get("/v1/jobs", headers={"Host": host})

    assert "Host must be localhost" in problem_of(response, 400, "invalid_request").detail


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
    ],
)
def test_changes_from_other_sites_are_refused(
    service: httpx.Client, headers: dict[str, str]
) -> None:
    for method, path in (("POST", "/v1/jobs"), ("POST", "/v1/jobs/0:cancel"), ("DELETE", "/v1/x")):
        problem_of(service.request(method, path, headers=headers), 403, "invalid_request")


def test_changes_from_its_own_pages_are_served(service: httpx.Client) -> None:
    own = {"Origin": f"http://{service.base_url.netloc.decode()}", "Sec-Fetch-Site": "same-origin"}

    response = service.post("/v1/jobs/0:cancel", headers=own)

    problem_of(response, 404, "not_found")


def test_a_bug_is_a_problem_that_tells_nothing_and_is_logged(
    broken: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="api.guard"):
        response = broken.get("/v1/fail/bug")

    problem = problem_of(response, 500, "internal")
    assert "secret" not in response.text
    assert problem.request_id in caplog.text
    assert "RuntimeError: secret" in caplog.text
    assert "Content-Security-Policy" in response.headers


def test_an_unexpected_error_of_ours_is_internal_too(broken: httpx.Client) -> None:
    problem_of(broken.get("/v1/fail/drift"), 500, "internal")


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/0:extend"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_body_above_a_megabyte_is_too_large(
    service: httpx.Client, path: str, declared: bool
) -> None:
    parts = [b" " * 600_000] * 2
    body = b"".join(parts) if declared else iter(parts)

    response = service.post(path, content=body, headers={"Content-Type": "application/json"})

    assert "1000000 bytes" in problem_of(response, 413, "too_large").detail
