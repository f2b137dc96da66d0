"""A job's events, followed over broken connections and restarted servers."""

import math
from collections.abc import Generator, Iterator
from typing import final

from dse.client.errors import ClientError, ServerError, UnreachableError
from dse.client.messages import read_messages
from dse.client.models import Event, JobView
from dse.client.retries import RETRIED_STATUSES
from dse.client.server import Server

SILENCE_S = 45.0  # three keep-alives of the server
PATIENCE_S = 60.0  # how long a server may be away
_SLACK_S = 1.0  # how much later than asked the stream may stop

_Events = Generator[Event, None, bool]


@final
class EventStream:
    """The events of one job behind number `after`, each once and in order.

    Args:
        path: of the job.
        until: when to stop, in the seconds of `Timing.now`.
    """

    def __init__(self, server: Server, path: str, *, after: int, until: float = math.inf) -> None:
        self._server = server
        self._path = path
        self._last = after
        self._until = until
        self._failures = 0
        self._lost: float | None = None  # when the server was missed first

    def __iter__(self) -> Iterator[Event]:
        """Yield events until the job has ended and all are told, or until the time is up.

        Raises:
            ClientError: UnreachableError if the server is away for longer than PATIENCE_S.
        """
        while self._left() > 0:
            closed = True
            try:
                closed = yield from self._listen()
                if closed and (yield from self._drain()):
                    return
            except (UnreachableError, ServerError) as error:
                self._forgive(error)
            if closed:
                self._failures += 1
                pause = self._server.timing.backoff(self._failures)
                self._server.timing.sleep(max(0.0, min(pause, self._left())))

    def _listen(self) -> _Events:
        """Yield what one connection brings; return whether the server closed it."""
        silence_s = min(SILENCE_S, self._left())
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self._last)}
        with self._server.stream(
            f"{self._path}/events", headers=headers, silence_s=silence_s
        ) as chunks:
            for message in read_messages(chunks):
                self._lost = None
                if message is not None:
                    yield from self._pass_on(self._server.parse(Event, message.data))
                # a connection keeps its timeout: one that would outlast `until` is opened anew
                if self._left() + _SLACK_S < silence_s:
                    return False
        return True

    def _drain(self) -> _Events:
        """Yield what is left of a job that has ended; return whether it has.

        A stream's end alone says nothing: the server may be going down, or have stopped at a
        pause that has been lifted since.
        """
        job = self._server.read(JobView, self._server.get(self._path))
        self._lost = None
        if job.state.ended:
            for item in self._server.items(f"{self._path}/events", {"after": self._last}):
                yield from self._pass_on(self._server.read(Event, item))
        return job.state.ended

    def _pass_on(self, event: Event) -> Iterator[Event]:
        if event.seq > self._last:
            self._last, self._failures = event.seq, 0
            yield event

    def _forgive(self, error: ClientError) -> None:
        if error.status is not None and error.status not in RETRIED_STATUSES:
            raise error
        if isinstance(error, ServerError) and error.status is None:
            raise error
        now = self._server.timing.now()
        self._lost = now if self._lost is None else self._lost
        if now - self._lost > PATIENCE_S:
            raise error

    def _left(self) -> float:
        return self._until - self._server.timing.now()
