import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

import pytest
from sqlalchemy import Engine, event

from api.events import Hub, frame
from dse.errors import StoreUnavailableError, UnknownNameError
from storage.control import delete_job, resume_job
from storage.repositories import Event
from storage.tables import JobState
from tests.api.stored_runs import add_job, advance, finish, finished_job, take

T = TypeVar("T")
POLL_S = 0.02


class Reads:
    """How often a database was asked for something."""

    def __init__(self) -> None:
        self.number = 0


@contextmanager
def counting(engine: Engine) -> Iterator[Reads]:
    reads = Reads()

    def count(*_: object) -> None:
        reads.number += 1

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield reads
    finally:
        event.remove(engine, "before_cursor_execute", count)


def run(main: Coroutine[object, object, T]) -> T:
    return asyncio.run(asyncio.wait_for(main, timeout=10))


async def ids_until(stream: AsyncIterator[bytes], last: int | None = None) -> list[int]:
    """Read a stream up to the event with a number, or to its end."""
    found: list[int] = []
    async for chunk in stream:
        found += [int(line[4:]) for line in chunk.splitlines() if line.startswith(b"id: ")]
        if last in found:
            break
    return found


def test_a_frame_is_one_event_whatever_it_holds() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    told = frame(Event(seq=7, kind="job.state", data={"error": "a\nb\r\n\n ü"}, at=at))

    head, data, *rest = told.decode().split("\ndata: ")
    assert head == "id: 7\nevent: job.state"
    assert not rest
    assert data.endswith("}\n\n")
    assert "\n" not in data[:-2]
    assert "\r" not in data


def test_a_finished_job_is_replayed_and_the_stream_ends(engine: Engine) -> None:
    job_id = finished_job(engine, generations=3)

    async def follow() -> list[list[int]]:
        hub = Hub(engine, threading.Event(), poll_s=POLL_S)
        found = [await ids_until(await hub.follow(job_id, after)) for after in (0, 4, 6, 99)]
        await hub.close()
        return found

    assert run(follow()) == [[1, 2, 3, 4, 5, 6], [5, 6], [], []]


def test_events_come_as_they_happen_and_end_with_the_job(engine: Engine) -> None:
    job_id = add_job(engine)

    async def follow() -> list[int]:
        hub = Hub(engine, threading.Event(), poll_s=POLL_S)
        stream = await hub.follow(job_id, 0)
        found = await ids_until(stream, last=1)
        lease = await asyncio.to_thread(take, engine, job_id)
        found += await ids_until(stream, last=2)
        await asyncio.to_thread(advance, engine, lease, 0)
        found += await ids_until(stream, last=3)
        await asyncio.to_thread(finish, engine, lease, JobState.SUCCEEDED)
        found += await ids_until(stream)
        await hub.close()
        return found

    assert run(follow()) == [1, 2, 3, 4]


def test_a_job_that_was_at_rest_before_is_followed_to_its_last_rest(engine: Engine) -> None:
    job_id = add_job(engine)
    finish(engine, take(engine, job_id), JobState.PAUSED)

    async def follow() -> list[int]:
        hub = Hub(engine, threading.Event(), poll_s=POLL_S)
        await asyncio.to_thread(resume_job, engine, job_id)
        stream = await hub.follow(job_id, 0)
        found = await ids_until(stream, last=4)
        lease = await asyncio.to_thread(take, engine, job_id)
        await asyncio.to_thread(finish, engine, lease, JobState.CANCELLED)
        found += await ids_until(stream)
        await hub.close()
        return found

    assert run(follow()) == [1, 2, 3, 4, 5, 6]


def test_fifty_clients_read_the_database_no_more_than_one(engine: Engine) -> None:
    job_id = add_job(engine)
    advance(engine, take(engine, job_id), 0)

    async def follow(clients: int) -> int:
        hub = Hub(engine, threading.Event(), poll_s=60)
        with counting(engine) as reads:
            streams = [await hub.follow(job_id, 0) for _ in range(clients)]
            for stream in streams:
                assert await ids_until(stream, last=3) == [1, 2, 3]
        await hub.close()
        return reads.number

    assert run(follow(50)) == run(follow(1)) > 0


def test_a_job_that_nobody_follows_is_not_read(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.events._LINGER_S", 0.1)
    job_id = finished_job(engine)

    async def follow() -> int:
        hub = Hub(engine, threading.Event(), poll_s=POLL_S)
        await ids_until(await hub.follow(job_id, 0))
        await asyncio.sleep(0.3)
        with counting(engine) as reads:
            await asyncio.sleep(0.2)
        await hub.close()
        return reads.number

    assert run(follow()) == 0


def test_a_quiet_stream_says_that_it_is_there(engine: Engine) -> None:
    job_id = add_job(engine)

    async def follow() -> list[bytes]:
        hub = Hub(engine, threading.Event(), poll_s=POLL_S, keep_alive_s=0.05)
        stream = await hub.follow(job_id, 1)
        found = [await anext(stream) for _ in range(3)]
        await hub.close()
        return found

    assert run(follow()) == [b"retry: 1000\n\n", b": still here\n\n", b": still here\n\n"]


def test_streams_end_when_the_service_stops(engine: Engine) -> None:
    job_id = add_job(engine)

    async def follow() -> list[int]:
        stopping = threading.Event()
        hub = Hub(engine, stopping, poll_s=POLL_S)
        stream = await hub.follow(job_id, 0)
        asyncio.get_running_loop().call_later(0.1, stopping.set)
        return await ids_until(stream)

    assert run(follow()) == [1]


def test_the_stream_of_a_deleted_job_ends(engine: Engine) -> None:
    job_id = add_job(engine)

    async def follow() -> list[int]:
        hub = Hub(engine, threading.Event(), poll_s=POLL_S)
        stream = await hub.follow(job_id, 0)
        found = await ids_until(stream, last=1)
        await asyncio.to_thread(delete_job, engine, job_id)
        return found + await ids_until(stream)

    assert run(follow()) == [1]


def test_an_unknown_job_has_no_stream(engine: Engine) -> None:
    async def follow() -> None:
        await Hub(engine, threading.Event()).follow("0" * 32, 0)

    with pytest.raises(UnknownNameError):
        run(follow())


def test_a_database_that_is_away_for_a_moment_does_not_end_a_stream(engine: Engine) -> None:
    job_id = add_job(engine)

    async def follow() -> list[int]:
        hub = Hub(engine, threading.Event(), poll_s=POLL_S)
        stream = await hub.follow(job_id, 0)
        found = await ids_until(stream, last=1)
        with refusing(engine):
            await asyncio.sleep(5 * POLL_S)
        await asyncio.to_thread(take, engine, job_id)
        found += await ids_until(stream, last=2)
        await hub.close()
        return found

    assert run(follow()) == [1, 2]


@contextmanager
def refusing(engine: Engine) -> Iterator[None]:
    def refuse(*_: object) -> None:
        raise StoreUnavailableError("away")

    event.listen(engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(engine, "before_cursor_execute", refuse)
