"""Live events: one reader a job reads the database, all its clients read the reader."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Final, final

from sqlalchemy import Engine

from dse.errors import DseError, StoreError
from storage.engine import reading
from storage.repositories import Event, Jobs, Results
from storage.tables import JobState

_log = logging.getLogger(__name__)

POLL_S: Final = 0.25
KEEP_ALIVE_S: Final = 15.0
# A reader outlives its last client a little, since pages that are loaded again come back.
_LINGER_S: Final = 2.0
_PAGE: Final = 1000
_RESTING: Final = frozenset(set(JobState) - {JobState.READY, JobState.LEASED})


def frame(event: Event) -> bytes:
    """Return an event in the text/event-stream format; its id is its number."""
    data = {"seq": event.seq, "kind": event.kind, "at": event.at.isoformat(), "data": event.data}
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {text}\n\n".encode()


@final
class Hub:
    """The readers of all jobs that somebody follows; lives in one event loop."""

    def __init__(
        self,
        engine: Engine,
        stopping: threading.Event,
        *,
        poll_s: float = POLL_S,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        """Make a hub without readers.

        Args:
            stopping: when set, all streams end.
        """
        self._engine = engine
        self._stopping = stopping
        self._poll_s = poll_s
        self._keep_alive_s = keep_alive_s
        self._readers: dict[str, _Reader] = {}

    async def follow(self, job_id: str, after: int) -> AsyncIterator[bytes]:
        """Return the stream of a job's events behind number `after`, as they come.

        It ends with the event that puts the job to rest, or when the service stops.

        Raises:
            UnknownNameError: no such job.
            StoreError: the database refuses.
        """
        reader = self._readers.get(job_id)
        if reader is None or reader.closed:
            reader = _Reader(self._engine, job_id, self._poll_s)
            self._readers[job_id] = reader
            reader.task = asyncio.create_task(self._run(reader))
        await reader.ready.wait()
        if reader.error is not None:
            raise reader.error
        return self._frames(reader, after)

    async def close(self) -> None:
        """End every reader, and with it the streams that it feeds."""
        tasks = [reader.task for reader in self._readers.values() if reader.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, reader: "_Reader") -> None:
        try:
            await reader.run(self._stopping)
        finally:
            if self._readers.get(reader.job_id) is reader:
                del self._readers[reader.job_id]

    async def _frames(self, reader: "_Reader", after: int) -> AsyncIterator[bytes]:
        reader.clients += 1
        try:
            yield b"retry: 1000\n\n"
            place = min(after, len(reader.frames))
            while True:
                changed = reader.changed  # before looking, so that no change is missed
                fresh = reader.frames[place : place + _PAGE]
                place += len(fresh)
                if fresh:
                    yield b"".join(fresh)
                elif reader.closed or reader.resting:
                    return
                else:
                    try:
                        await asyncio.wait_for(changed.wait(), self._keep_alive_s)
                    except TimeoutError:
                        yield b": still here\n\n"
        finally:
            reader.clients -= 1


@final
class _Reader:
    """Reads one job's events while somebody follows it. Numbers have no gap, so the event with
    number n is `frames[n - 1]`."""

    def __init__(self, engine: Engine, job_id: str, poll_s: float) -> None:
        self.job_id = job_id
        self.frames: list[bytes] = []
        self.clients = 0
        self.resting = False
        self.closed = False
        self.error: Exception | None = None
        self.ready = asyncio.Event()
        self.changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self._engine = engine
        self._poll_s = poll_s

    async def run(self, stopping: threading.Event) -> None:
        idle_s = 0.0
        try:
            while idle_s < _LINGER_S and not stopping.is_set():
                await self._look()
                await asyncio.sleep(self._poll_s)
                idle_s = 0.0 if self.clients else idle_s + self._poll_s
        except DseError as error:
            self.error = error
        except Exception as error:
            _log.exception("events of job %s cannot be read", self.job_id)
            self.error = error
        finally:
            self.closed = True
            self._tell()

    async def _look(self) -> None:
        try:
            # Its own threads: those of the routes may all be busy.
            resting, fresh = await asyncio.to_thread(self._read)
        except StoreError as error:
            if not self.ready.is_set():
                raise
            _log.warning("events of job %s: %s", self.job_id, error)
            return
        if fresh or resting != self.resting or not self.ready.is_set():
            self.frames += fresh
            self.resting = resting
            self._tell()

    def _read(self) -> tuple[bool, list[bytes]]:
        with reading(self._engine) as connection:
            job = Jobs(connection).get(self.job_id)
            if job.event_seq == len(self.frames):
                return job.state in _RESTING, []
            events = Results(connection).events(self.job_id, after=len(self.frames))
        return job.state in _RESTING, [frame(event) for event in events]

    def _tell(self) -> None:
        self.ready.set()
        self.changed.set()
        self.changed = asyncio.Event()
