import httpx
import pytest

from dse.client import (
    Client,
    ClientError,
    ConflictError,
    FieldError,
    InvalidRequestError,
    NotFoundError,
    ServerError,
    UnreachableError,
)
from dse.errors import DseError, SpecError
from tests.dse.client.fakes import Parts, Script, client_of, problem


def _error(reply: httpx.Response | httpx.TransportError) -> ClientError:
    with pytest.raises(ClientError) as caught:
        client_of(Script(reply), retries=0).get("0190aa")
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (413, InvalidRequestError),
        (415, InvalidRequestError),
        (422, InvalidRequestError),
        (404, NotFoundError),
        (409, ConflictError),
        (412, ConflictError),
        (408, ServerError),
        (429, ServerError),
        (500, ServerError),
        (503, ServerError),
        (401, ClientError),
        (302, ClientError),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ClientError]) -> None:
    error = _error(problem(status, "its_code"))

    assert type(error) is kind
    assert (error.status, error.code, error.request_id) == (status, "its_code", "r-1")
    assert error.problem is not None
    assert error.problem.instance == "/v1/jobs"


def test_wrong_fields_are_listed_by_pointer() -> None:
    wrong = {"pointer": "/search/population", "detail": "at least 4, got 1"}

    error = _error(problem(422, detail="the job spec does not hold", errors=[wrong]))

    assert str(error) == "the job spec does not hold\n  /search/population: at least 4, got 1"
    assert error.problem is not None
    assert error.problem.errors == (FieldError(**wrong),)


def test_failure_of_the_server_names_the_request_in_its_log() -> None:
    assert str(_error(problem(500, detail="it failed"))) == "it failed (request r-1)"


def test_answer_without_a_problem_document_is_told_by_its_status() -> None:
    error = _error(httpx.Response(502, text="<h1>Bad gateway</h1>"))

    assert str(error) == "the server answered 502 without a problem document"
    assert (error.status, error.code, error.problem) == (502, None, None)


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200, text="<h1>It works!</h1>"),
        httpx.Response(200, json=["a", "list"]),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(204),
    ],
)
def test_another_service_at_the_address_is_recognised(reply: httpx.Response) -> None:
    error = _error(reply)

    assert isinstance(error, ServerError)
    assert "is it another service" in str(error)


def test_list_without_items_is_another_services() -> None:
    with pytest.raises(ServerError, match="has no items"):
        list(client_of(Script(httpx.Response(200, json={}))).list())


def test_refused_connection_on_loopback_says_how_to_start_the_server() -> None:
    transport = httpx.MockTransport(Script(httpx.ConnectError("Connection refused")))

    with (
        Client("http://127.0.0.1:8000", retries=0, transport=transport) as client,
        pytest.raises(UnreachableError) as caught,
    ):
        client.get("x")

    assert str(caught.value) == (
        "cannot reach a server at http://127.0.0.1:8000 (Connection refused): "
        "start it with `dse serve`"
    )
    assert caught.value.status is None


def test_broken_connection_is_not_told_as_a_server_that_does_not_run() -> None:
    assert "dse serve" not in str(_error(httpx.ReadError("reset")))
    assert str(_error(httpx.ReadTimeout("x"))).endswith("broke off: no answer in time")


def test_errors_are_also_what_python_calls_them() -> None:
    assert issubclass(ClientError, DseError)
    assert isinstance(_error(httpx.ConnectError("refused")), ConnectionError)
    assert isinstance(_error(problem(404)), LookupError)
    assert isinstance(_error(problem(422)), SpecError)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", "localhost"])
def test_address_that_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(SpecError, match=r"must begin with http:// or https://, got|must be a URL"):
        Client(url)


@pytest.mark.parametrize("job_id", ["", ".", ".."])
def test_id_that_would_be_another_path_is_refused(job_id: str) -> None:
    with pytest.raises(SpecError, match="job's id"):
        client_of(Script(problem(404))).get(job_id)


def test_id_stays_one_part_of_the_path() -> None:
    script = Script(problem(404))

    with pytest.raises(NotFoundError):
        client_of(script).get("../knobs?x=1")

    assert script.requests[0].url.raw_path == b"/v1/jobs/..%2Fknobs%3Fx%3D1"


def test_answer_that_cannot_be_decoded_counts_as_broken_off() -> None:
    def garbled(request: httpx.Request) -> httpx.Response:
        headers = {"Content-Encoding": "gzip"}
        return httpx.Response(200, headers=headers, stream=Parts([b"no gzip"]))

    with pytest.raises(UnreachableError, match="broke off"):
        client_of(garbled, retries=0).get("0190aa")
