"""Changes of a job's state outside a driver: one update, one event, one transaction."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, select, update

from storage import events
from storage.repositories import unknown_job
from storage.tables import JobRow, JobState

AnyRow = Row[*tuple[Any, ...]]
"""A row whose columns have no static type."""

FINAL = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.POISONED)

NO_OWNER = {
    "owner": None,
    "owner_host": None,
    "owner_pid": None,
    "owner_boot": None,
    "owner_started": None,
    "lease_until": None,
}
NO_REQUESTS = {"cancel_requested": False, "pause_requested": False}


def lock(connection: Connection, job_id: str) -> AnyRow:
    """Read a job's row; nobody else changes it before the transaction ends.

    Raises:
        UnknownNameError: no such job.
    """
    found = select(*JobRow.__table__.columns).where(JobRow.id == job_id).with_for_update()
    row = connection.execute(found).one_or_none()
    if row is None:
        raise unknown_job(connection, job_id)
    return row


def settle(
    connection: Connection,
    row: AnyRow,
    state: JobState,
    *,
    said: dict[str, object] | None = None,
    **columns: object,
) -> None:
    """Put a locked job into a state in which nobody drives it, and append the event.

    Args:
        said: what the event tells besides state and attempt.
    """
    at = datetime.now(UTC)
    columns = {**NO_OWNER, **NO_REQUESTS, **columns}
    finished = {"finished_at": at if state in FINAL else None}
    values = {"state": state, "updated_at": at, **finished, **columns}
    data = {"state": state, "attempt": row.attempt, **(said or {})}
    _update(connection, row.id, values, events.EventKind.JOB_STATE, data)


def request(connection: Connection, row: AnyRow, asked: str, **flags: bool) -> None:
    """Set flags of a locked job that its driver will see, and append the event."""
    values = {"updated_at": datetime.now(UTC), **flags}
    _update(connection, row.id, values, events.EventKind.JOB_REQUEST, {"request": asked})


def note(
    connection: Connection, job_id: str, kind: events.EventKind, data: dict[str, object]
) -> None:
    """Append an event of a locked job."""
    _update(connection, job_id, {}, kind, data)


def _update(
    connection: Connection,
    job_id: str,
    values: dict[str, object],
    kind: events.EventKind,
    data: dict[str, object],
) -> None:
    next_event = {"event_seq": JobRow.event_seq + 1, "version": JobRow.version + 1}
    changed = update(JobRow).where(JobRow.id == job_id).values({**values, **next_event})
    seq = connection.execute(changed.returning(JobRow.event_seq)).scalar_one()
    events.append(connection, job_id=job_id, seq=seq, kind=kind, data=data)
