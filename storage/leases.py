"""Leases: which process may drive a job.

A lease is a job's `owner` and `attempt`. Claiming raises `attempt`, and every write of a driver
begins by updating the job's row under both; zero rows tell a driver that the job is another's.
The update also locks the row, so that no takeover slips in before the transaction ends.
"""

import os
import socket
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.sql.dml import ReturningUpdate, Update

from dse.errors import FencedOutError
from storage import events
from storage.repositories import unknown_job
from storage.tables import JobRow, JobState

LEASE = timedelta(seconds=60)

_FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
_RELEASED = (JobState.READY, JobState.PAUSED, *_FINAL)
# The start of a process is read off the system clock, which is adjusted now and then.
_START_TOLERANCE_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that drives jobs.

    Attributes:
        id: fresh for every process; a process id alone comes back.
        started: start of the process, seconds since the epoch.
    """

    id: str
    host: str
    pid: int
    started: float

    @staticmethod
    def current() -> "Owner":
        """Describe the calling process."""
        pid = os.getpid()
        return Owner(
            id=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=pid,
            started=psutil.Process(pid).create_time(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to drive a job, until somebody claims it after us.

    Attributes:
        generation: the last finished one when the lease was taken, -1 for none.
    """

    job_id: str
    owner: str
    attempt: int
    generation: int


def claim(
    engine: Engine, job_id: str, owner: Owner, *, resume: Collection[JobState] = ()
) -> Lease | None:
    """Take a job that is READY, in a state of `resume`, or LEASED to a process that is gone.

    A lease from this host is lost when its process has ended; one from another host when it has
    run out.

    Returns:
        None when the job is another's, or in another state.

    Raises:
        UnknownNameError: no such job.
    """
    with engine.begin() as connection:
        seen = connection.execute(_SEEN, {"id": job_id}).one_or_none()
        if seen is None:
            raise unknown_job(connection, job_id)
        lost = seen.state == JobState.LEASED and (
            _has_ended(seen.owner_pid, seen.owner_started)
            if seen.owner_host == owner.host
            else _has_run_out(seen.lease_until)
        )
        if not (lost or seen.state == JobState.READY or seen.state in resume):
            return None
        return _take(connection, job_id, owner, attempt=seen.attempt, lost=lost)


_SEEN = select(
    JobRow.state,
    JobRow.attempt,
    JobRow.owner_host,
    JobRow.owner_pid,
    JobRow.owner_started,
    JobRow.lease_until,
).where(JobRow.id == bindparam("id"))


def _take(
    connection: Connection, job_id: str, owner: Owner, *, attempt: int, lost: bool
) -> Lease | None:
    at = datetime.now(UTC)
    taken = connection.execute(
        update(JobRow)
        .where(JobRow.id == job_id, JobRow.attempt == attempt)
        .values(
            state=JobState.LEASED,
            owner=owner.id,
            owner_host=owner.host,
            owner_pid=owner.pid,
            owner_started=owner.started,
            attempt=attempt + 1,
            crashes=JobRow.crashes + lost,
            lease_until=at + LEASE,
            error=None,
            finished_at=None,
            updated_at=at,
            event_seq=JobRow.event_seq + 1,
            version=JobRow.version + 1,
        )
        .returning(JobRow.event_seq, JobRow.generation)
    ).one_or_none()
    if taken is None:
        return None
    data = {"state": JobState.LEASED, "attempt": attempt + 1}
    _say(connection, job_id, taken.event_seq, data)
    return Lease(job_id=job_id, owner=owner.id, attempt=attempt + 1, generation=taken.generation)


def _has_ended(pid: int | None, started: float | None) -> bool:
    assert pid is not None, "a leased job names its owner"
    assert started is not None, "a leased job names its owner"
    try:
        process = psutil.Process(pid)
        # A zombie has ended, only its parent has not yet asked how.
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(process.create_time() - started) > _START_TOLERANCE_S
    except psutil.NoSuchProcess:
        return True


def _has_run_out(lease_until: datetime | None) -> bool:
    assert lease_until is not None, "a leased job has a lease"
    return lease_until < datetime.now(UTC)


def fenced() -> Update:
    """Begin the UPDATE of a job's row under a lease; its parameters come from `fence`."""
    return _held().values(lease_until=bindparam("until"))


def _held() -> Update:
    return update(JobRow).where(
        JobRow.id == bindparam("of_job"),
        JobRow.owner == bindparam("of_owner"),
        JobRow.attempt == bindparam("of_attempt"),
        JobRow.state == JobState.LEASED,
    )


def fence(lease: Lease) -> dict[str, object]:
    """Return the parameters of `fenced`, the lease's new end among them."""
    return _holding(lease) | {"until": datetime.now(UTC) + LEASE}


def _holding(lease: Lease) -> dict[str, object]:
    return {"of_job": lease.job_id, "of_owner": lease.owner, "of_attempt": lease.attempt}


def fenced_out(lease: Lease) -> FencedOutError:
    """Return the error of a driver that lost its job."""
    return FencedOutError(
        f"job {lease.job_id} is no longer held under attempt {lease.attempt}: "
        "another process has taken it over, or it was released"
    )


_BEAT = fenced()


def heartbeat(engine: Engine, lease: Lease) -> None:
    """Renew the lease; for the long stretches in which a driver writes nothing.

    Raises:
        FencedOutError: the job is another's.
    """
    with engine.begin() as connection:
        if connection.execute(_BEAT, fence(lease)).rowcount == 0:
            raise fenced_out(lease)


_RELEASE: ReturningUpdate[Any] = (
    _held()
    .values(
        state=bindparam("to"),
        error=bindparam("why"),
        finished_at=bindparam("finished"),
        updated_at=bindparam("now"),
        cancel_requested=JobRow.cancel_requested & bindparam("keep_requests"),
        pause_requested=JobRow.pause_requested & bindparam("keep_requests"),
        owner=None,
        owner_host=None,
        owner_pid=None,
        owner_started=None,
        lease_until=None,
        event_seq=JobRow.event_seq + 1,
        version=JobRow.version + 1,
    )
    .returning(JobRow.event_seq)
)


def release(engine: Engine, lease: Lease, state: JobState, *, error: str | None = None) -> None:
    """Give the job up: READY when interrupted, otherwise what became of it.

    A job that goes back to READY keeps a request to cancel or pause for its next driver.

    Raises:
        FencedOutError: the job is another's.
    """
    if state not in _RELEASED:
        raise ValueError(f"a job is released as one of {', '.join(_RELEASED)}, got {state}")
    at = datetime.now(UTC)
    values = {
        "to": state,
        "why": error,
        "now": at,
        "finished": at if state in _FINAL else None,
        "keep_requests": state == JobState.READY,
    }
    with engine.begin() as connection:
        seq = connection.execute(_RELEASE, _holding(lease) | values).scalar_one_or_none()
        if seq is None:
            raise fenced_out(lease)
        data = {"state": state, "attempt": lease.attempt}
        _say(connection, lease.job_id, seq, data | ({"error": error} if error else {}))


def _say(connection: Connection, job_id: str, seq: int, data: dict[str, object]) -> None:
    events.append(connection, job_id=job_id, seq=seq, kind=events.JOB_STATE, data=data)
