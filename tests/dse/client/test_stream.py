import json
from collections.abc import Callable

import httpx
import pytest

from dse.client import NotFoundError, ServerError, UnreachableError
from dse.client.stream import PATIENCE_S
from tests.dse.client.fakes import (
    FakeClock,
    Json,
    Reply,
    client_of,
    generation_event,
    job_data,
    pages,
    problem,
    state_event,
    streamed,
    wire,
)

RUN = [state_event(1, "LEASED"), *(generation_event(i + 2, i) for i in range(3))]
DONE = state_event(5, "SUCCEEDED")


class Server:
    """Streams by script; its job is in `state`, and `rest` is what its event page holds."""

    def __init__(self, *streams: Reply, state: str = "SUCCEEDED", rest: Json | None = None):
        self.streams = list(streams)
        self.state = state
        self.rest = rest
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=job_data(state=self.state))
        if request.headers["Accept"] == "application/json":
            return pages([self.rest] if self.rest else [])[0]
        self.asked.append(request.headers["Last-Event-ID"])
        reply = self.streams.pop(0)
        if isinstance(reply, httpx.TransportError):
            raise reply
        return reply


def _seqs(server: Callable[[httpx.Request], httpx.Response], after: int = 0) -> list[int]:
    job = client_of(server, FakeClock()).get("0190aa")
    return [event.seq for event in job.stream(after)]


def _breaks() -> None:
    raise httpx.ReadError("reset")


def test_events_come_typed_and_in_order_until_the_job_ends() -> None:
    server = Server(streamed(*map(wire, [*RUN, DONE])))

    events = list(client_of(server).get("0190aa").stream())

    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    assert events[-1].kind == "job.state"
    assert events[-1].data["state"] == "SUCCEEDED"
    assert events[0].at.tzinfo is not None


def test_stream_begins_behind_the_given_event() -> None:
    server = Server(streamed(wire(DONE)))

    assert _seqs(server, after=4) == [5]
    assert server.asked == ["4"]


def test_broken_stream_goes_on_behind_its_last_event() -> None:
    server = Server(
        streamed(*map(wire, RUN[:2]), b"id: 3\ndata: {half", end=_breaks),
        streamed(*map(wire, [*RUN[2:], DONE])),
    )

    assert _seqs(server) == [1, 2, 3, 4, 5]
    assert server.asked == ["0", "2"]


def test_event_that_is_sent_again_is_told_once() -> None:
    server = Server(
        streamed(*map(wire, RUN), end=_breaks), streamed(*map(wire, [*RUN, RUN[-1], DONE]))
    )

    assert _seqs(server) == [1, 2, 3, 4, 5]


def test_stream_that_a_restarting_server_ends_is_opened_again() -> None:
    server = Server(
        streamed(wire(RUN[0])), httpx.ConnectError("refused"), problem(503), state="LEASED"
    )
    server.streams.append(streamed(*map(wire, [*RUN, DONE]), end=lambda: _set(server, "FAILED")))

    assert _seqs(server) == [1, 2, 3, 4, 5]
    assert server.asked == ["0", "1", "1", "1"]


def test_pause_that_was_lifted_does_not_end_the_stream() -> None:
    paused, resumed = state_event(2, "PAUSED"), state_event(3, "READY")
    server = Server(streamed(wire(RUN[0]), wire(paused)), state="LEASED")
    end = state_event(4, "SUCCEEDED")
    server.streams.append(
        streamed(wire(resumed), wire(end), end=lambda: _set(server, "SUCCEEDED"))
    )

    assert _seqs(server) == [1, 2, 3, 4]


def test_events_that_the_stream_left_out_are_read_when_the_job_has_ended() -> None:
    server = Server(streamed(*map(wire, RUN)), rest=DONE)

    assert _seqs(server) == [1, 2, 3, 4, 5]


def test_keep_alives_and_unknown_kinds_do_no_harm() -> None:
    strange = {**generation_event(2, 0), "kind": "something.else", "more": True}
    server = Server(streamed(b": hello\n\n", wire(RUN[0]), b":\n\n", wire(strange), wire(DONE)))

    assert _seqs(server) == [1, 2, 5]


def test_server_that_stays_away_ends_the_stream_after_a_minute() -> None:
    clock = FakeClock()
    away = [httpx.ConnectError("refused") for _ in range(100)]
    server = Server(streamed(wire(RUN[0]), end=_breaks), *away)
    job = client_of(server, clock).get("0190aa")

    with pytest.raises(UnreachableError):
        list(job.stream())

    assert PATIENCE_S < clock.seconds < PATIENCE_S + 10


def test_reader_that_takes_its_time_is_no_absence_of_the_server() -> None:
    clock = FakeClock()
    server = Server(streamed(wire(RUN[0]), end=_breaks), streamed(*map(wire, [*RUN, DONE])))

    told = []
    for event in client_of(server, clock).get("0190aa").stream():
        told.append(event.seq)
        clock.seconds += 10 * PATIENCE_S

    assert told == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("status", "kind"), [(404, NotFoundError), (500, ServerError)])
def test_answer_that_will_not_change_ends_the_stream(status: int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        _seqs(Server(problem(status)))


@pytest.mark.parametrize(
    "reply", [streamed(b"<html>", kind="text/html"), streamed(b"data: {}\n\n")]
)
def test_another_services_stream_is_recognised(reply: httpx.Response) -> None:
    with pytest.raises(ServerError, match="is it another service"):
        _seqs(Server(reply))


def test_each_connection_is_closed_when_the_reader_stops() -> None:
    closed = []
    reply = streamed(*map(wire, RUN))
    reply.stream.close = lambda: closed.append(True)  # type: ignore[union-attr,method-assign]

    events = client_of(Server(reply)).get("0190aa").stream()
    next(events)
    events.close()  # type: ignore[attr-defined]

    assert closed


def test_events_may_hold_any_text() -> None:
    strange = {**DONE, "data": {"state": "SUCCEEDED", "error": "a\u2028b\x85c\n"}}
    raw = f"data: {json.dumps(strange, ensure_ascii=False)}\n\n".encode()

    events = list(client_of(Server(streamed(raw))).get("0190aa").stream())

    assert events[0].data["error"] == "a\u2028b\x85c\n"


def _set(server: Server, state: str) -> None:
    server.state = state
