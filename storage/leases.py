"""Leases: which process may drive a job.

A lease is a job's `owner` and `attempt`. Claiming raises `attempt`, and every write of a driver
begins by updating the job's row under both; zero rows tell a driver that the job is another's.
The update also locks the row, so that no takeover slips in before the transaction ends.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    Boolean,
    Connection,
    Engine,
    Float,
    and_,
    bindparam,
    case,
    literal_column,
    select,
    update,
)
from sqlalchemy.orm import aliased
from sqlalchemy.sql.dml import Update

from dse.errors import FencedOutError
from storage.clock import time_in
from storage.flights import count_lone_deaths
from storage.losses import LEASES, loss, told
from storage.owners import Owner
from storage.repositories import unknown_job
from storage.states import FINAL, NO_OWNER, NO_REQUESTS, AnyRow
from storage.steps import Step
from storage.tables import JobRow, JobState
from storage.text import storable

LEASE_S = 60.0

_RELEASED = (
    JobState.READY,
    JobState.PAUSED,
    JobState.SUCCEEDED,
    JobState.FAILED,
    JobState.CANCELLED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to drive a job, until somebody claims it after us.

    Attributes:
        generation: the last finished one when the lease was taken, -1 for none.
        length_s: seconds that a renewal lasts.
    """

    job_id: str
    owner: str
    attempt: int
    generation: int
    length_s: float = LEASE_S


def claim_next(engine: Engine, owner: Owner, *, length_s: float = LEASE_S) -> Lease | None:
    """Take the READY job of the highest priority, the oldest among equals.

    Any number of processes may do so at once; each job goes to one of them.

    Returns:
        None when no job is READY.
    """
    taken = _CLAIM_NEXT.take(engine, _owned(owner, length_s))
    return None if taken is None else _lease(taken, owner, length_s)


def claim(
    engine: Engine,
    job_id: str,
    owner: Owner,
    *,
    resume: Collection[JobState] = (),
    length_s: float = LEASE_S,
) -> Lease | None:
    """Take a job that is READY, in a state of `resume`, or whose lease is lost.

    Returns:
        None when the job is another's, or in another state.

    Raises:
        UnknownNameError: no such job.
    """
    with engine.begin() as connection:
        row = connection.execute(_ONE, {"of_job": job_id}).one_or_none()
        if row is None:
            raise unknown_job(connection, job_id)
        reason = loss(row, engine=engine) if row.state == JobState.LEASED else None
        if reason is None and row.state != JobState.READY and row.state not in resume:
            return None
        values = _owned(owner, length_s) | {"of_job": job_id, "count": row.crashes, "why": None}
        if reason is not None and not count_lone_deaths(connection, job_id, row.attempt):
            values |= {"count": row.crashes + 1, "why": told(row, reason)}
        elif row.state != JobState.READY:
            values |= {"count": 0}
        taken = _CLAIM.take_within(connection, values)
        assert taken is not None, "the row is locked"
        return _lease(taken, owner, length_s)


_TAKE = update(JobRow).values(
    state=JobState.LEASED,
    owner=bindparam("by"),
    owner_host=bindparam("at_host"),
    owner_pid=bindparam("as_pid"),
    owner_boot=bindparam("in_boot"),
    owner_started=bindparam("since"),
    attempt=JobRow.attempt + 1,
    lease_until=time_in(bindparam("of_length", type_=Float)),
    finished_at=None,
    updated_at=bindparam("now"),
)

# Spelt out, since no index of READY jobs serves a state that comes as a parameter.
_waiting = aliased(JobRow)
_first = (
    select(_waiting.id)
    .where(_waiting.state == literal_column("'READY'"))
    .order_by(_waiting.priority.desc(), _waiting.id)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_CLAIM_NEXT = Step(
    _TAKE.where(JobRow.id == _first).values(
        error=case((JobRow.crashes > 0, JobRow.error), else_=None)
    )
)
_ONE = LEASES.where(JobRow.id == bindparam("of_job")).with_for_update()
_CLAIM = Step(
    _TAKE.where(JobRow.id == bindparam("of_job")).values(
        crashes=bindparam("count"), error=bindparam("why")
    )
)


def _owned(owner: Owner, length_s: float) -> dict[str, object]:
    return {
        "by": owner.id,
        "at_host": owner.host,
        "as_pid": owner.pid,
        "in_boot": owner.boot,
        "since": owner.started,
        "of_length": length_s,
        "now": datetime.now(UTC),
    }


def _lease(taken: AnyRow, owner: Owner, length_s: float) -> Lease:
    return Lease(
        job_id=taken.id,
        owner=owner.id,
        attempt=taken.attempt,
        generation=taken.generation,
        length_s=length_s,
    )


def fenced() -> Update:
    """Begin the UPDATE of a job's row under a lease; its parameters come from `fence`."""
    return _held().values(lease_until=time_in(bindparam("of_length", type_=Float)))


def _held() -> Update:
    return update(JobRow).where(
        JobRow.id == bindparam("of_job"),
        JobRow.owner == bindparam("of_owner"),
        JobRow.attempt == bindparam("of_attempt"),
        JobRow.state == JobState.LEASED,
    )


def fence(lease: Lease) -> dict[str, object]:
    """Return the parameters of `fenced`."""
    return _holding(lease) | {"of_length": lease.length_s}


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
        renew(connection, lease)


def renew(connection: Connection, lease: Lease) -> None:
    """Renew the lease in a transaction of the caller's; errors as `heartbeat`."""
    if connection.execute(_BEAT, fence(lease)).rowcount == 0:
        raise fenced_out(lease)


_asked = and_(bindparam("to_ready", type_=Boolean), JobRow.cancel_requested)
_paused = and_(bindparam("to_ready", type_=Boolean), JobRow.pause_requested)
_RELEASE = Step(
    _held().values(
        state=case(
            (_asked, literal_column("'CANCELLED'")),
            (_paused, literal_column("'PAUSED'")),
            else_=bindparam("to"),
        ),
        error=bindparam("why"),
        finished_at=case((_asked, bindparam("now")), else_=bindparam("finished")),
        updated_at=bindparam("now"),
        **NO_OWNER,
        **NO_REQUESTS,
    ),
    gives_up=True,
)


def release(
    engine: Engine, lease: Lease, state: JobState, *, error: str | None = None
) -> JobState:
    """Give the job up: READY when interrupted, otherwise what became of it.

    A job that would be READY and was asked to stop is CANCELLED or PAUSED instead.

    Returns:
        The state that the job is in since.

    Raises:
        FencedOutError: the job is another's.
    """
    if state not in _RELEASED:
        raise ValueError(f"a job is released as one of {', '.join(_RELEASED)}, got {state}")
    at = datetime.now(UTC)
    values = {
        "to": state,
        "to_ready": state == JobState.READY,
        "why": None if error is None else storable(error),
        "now": at,
        "finished": at if state in FINAL else None,
    }
    row = _RELEASE.take(engine, _holding(lease) | values)
    if row is None:
        raise fenced_out(lease)
    return JobState(row.state)
