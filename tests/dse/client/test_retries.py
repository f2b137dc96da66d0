from collections.abc import Callable

import httpx
import pytest

from dse.client import Client, ConflictError, ServerError, Timing, UnreachableError
from dse.client.server import Server
from tests.dse.client.fakes import FakeClock, Script, client_of, job_data, problem

JOB = httpx.Response(200, json=job_data())
SPEC = {
    "workload": {"name": "sru-phones"},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 4]}],
    "objectives": ["error"],
}


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_request_is_sent_again_when_the_server_cannot_answer_now(status: int) -> None:
    clock, script = FakeClock(), Script(problem(status), problem(status), JOB)

    client_of(script, clock).get("0190aa")

    assert len(script.requests) == 3
    assert clock.slept == [0.5, 1.0]


@pytest.mark.parametrize(
    "failure",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("slow"),
        httpx.ReadTimeout("slow"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("closed"),
    ],
)
def test_request_is_sent_again_when_the_connection_fails(failure: httpx.TransportError) -> None:
    script = Script(failure, JOB)

    client_of(script).get("0190aa")

    assert len(script.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 409, 412, 413, 415, 422, 500, 501])
def test_answer_that_would_not_change_is_not_asked_for_again(status: int) -> None:
    script = Script(problem(status))

    with pytest.raises(Exception, match="what was given"):
        client_of(script).get("0190aa")

    assert len(script.requests) == 1


def test_retries_end_with_the_last_error() -> None:
    clock, script = FakeClock(), Script(problem(503, "unavailable"))

    with pytest.raises(ServerError) as caught:
        client_of(script, clock, retries=3).get("0190aa")

    assert (caught.value.status, caught.value.code) == (503, "unavailable")
    assert len(script.requests) == 4
    assert clock.slept == [0.5, 1.0, 2.0]


def test_no_retries_means_one_request() -> None:
    script = Script(httpx.ConnectError("refused"))

    with pytest.raises(UnreachableError):
        client_of(script, retries=0).get("0190aa")

    assert len(script.requests) == 1


def test_conflict_is_never_repeated() -> None:
    script = Script(JOB, problem(409, "conflict"))
    job = client_of(script).get("0190aa")

    with pytest.raises(ConflictError):
        job.cancel()

    assert len(script.requests) == 2


def test_submission_keeps_its_key_on_every_try() -> None:
    script = Script(httpx.ReadTimeout("slow"), problem(503), JOB)

    client_of(script).submit(SPEC)

    keys = {request.headers["Idempotency-Key"] for request in script.requests}
    assert len(script.requests) == 3
    assert len(keys) == 1


def test_two_submissions_have_two_keys() -> None:
    script = Script(JOB)
    client = client_of(script)

    client.submit(SPEC)
    client.submit(SPEC)

    assert len({request.headers["Idempotency-Key"] for request in script.requests}) == 2


def test_clone_keeps_its_key_on_every_try() -> None:
    script = Script(JOB, httpx.ReadTimeout("slow"), JOB)

    client_of(script).get("0190aa").clone()

    first, second = script.requests[1:]
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]


def test_post_that_would_do_its_work_twice_is_sent_once() -> None:
    script, timing = Script(httpx.ReadTimeout("slow")), FakeClock().timing
    server = Server(
        "http://service",
        timeout=1,
        retries=2,
        transport=httpx.MockTransport(script),
        timing=timing,
    )

    with pytest.raises(UnreachableError):
        server.send("POST", "/v1/jobs")

    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("action", "arguments"),
    [("cancel", ()), ("pause", ()), ("resume", ()), ("extend", (90,)), ("delete", ())],
)
def test_actions_are_safe_to_repeat_and_are_repeated(
    action: str, arguments: tuple[int, ...]
) -> None:
    script = Script(JOB, httpx.ReadError("reset"), JOB)
    job = client_of(script).get("0190aa")

    getattr(job, action)(*arguments)

    first, second = script.requests[1:3]
    assert (first.method, first.url) == (second.method, second.url)
    assert action in (first.method.lower(), first.url.path.partition(":")[2])


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Fri, 01 May 2026 12:00:09 GMT", 9.0),
        ("Fri, 01 May 2026 12:00:09 -0000", 9.0),
        ("Fri, 01 May 2020 12:00:00 GMT", 0.0),
        ("soon", 0.5),
        ("-3", 0.5),
        ("", 0.5),
    ],
)
def test_retry_after_is_heeded_as_seconds_or_date(told: str, seconds: float) -> None:
    clock = FakeClock()
    busy = problem(429)
    busy.headers["Retry-After"] = told

    client_of(Script(busy, JOB), clock).get("0190aa")

    assert clock.slept == [seconds]


def test_retry_after_beyond_patience_is_told_at_once() -> None:
    clock = FakeClock()
    busy = problem(503)
    busy.headers["Retry-After"] = "3600"

    with pytest.raises(ServerError):
        client_of(Script(busy), clock).get("0190aa")

    assert clock.slept == []


def test_pauses_double_up_to_eight_seconds() -> None:
    pauses = [FakeClock().timing.backoff(failures) for failures in range(1, 8)]

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert FakeClock().timing.backoff(10_000) == 8.0


@pytest.mark.parametrize(("jitter", "pause"), [(0.0, 0.5), (0.5, 0.75)])
def test_pauses_vary_within_their_upper_half(jitter: float, pause: float) -> None:
    assert Timing(jitter=lambda: jitter).backoff(2) == pause


@pytest.mark.parametrize(
    ("call", "method"),
    [(lambda c: c.get("x"), "GET"), (lambda c: c.submit(SPEC), "POST")],
)
def test_each_try_sends_the_same_request(call: Callable[[Client], object], method: str) -> None:
    script = Script(problem(502), JOB)

    call(client_of(script))

    first, second = script.requests
    assert first.method == second.method == method
    assert first.content == second.content
