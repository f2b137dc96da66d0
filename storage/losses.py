"""Leases whose driver is gone, and what becomes of their jobs.

A lease is lost when its process, as far as it can be looked up here, has ended, and when it has
run out. On SQLite the clock is the host's, which somebody may set: there a process that is seen
to live keeps its job, whatever the clock says.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, literal_column, select

from storage.clock import time_in
from storage.engine import reading
from storage.flights import count_lone_deaths
from storage.owners import has_ended, has_rebooted, is_near
from storage.states import AnyRow, settle
from storage.tables import JobRow, JobState

MAX_CRASHES = 3
"""Drivers that a job may lose in a row, nothing stored in between, before it is POISONED."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A job that lost its driver, the state it is in since, and what is known of the driver."""

    job_id: str
    state: JobState
    reason: str


def sweep(engine: Engine, *, max_crashes: int = MAX_CRASHES) -> list[Loss]:
    """Free the jobs whose leases are lost; repeat it every few seconds.

    Each counts a crash and is READY again, or POISONED after `max_crashes` of them; one that was
    asked to stop is CANCELLED or PAUSED. A crash under an evaluation that ran alone counts against
    that one and not against the job.
    """
    return _free(engine, lambda row: loss(row, engine=engine), max_crashes)


def free_dead_owners(engine: Engine, *, max_crashes: int = MAX_CRASHES) -> list[Loss]:
    """Free the jobs whose processes on this host have ended, however long their leases last."""
    return _free(engine, _death, max_crashes)


def free_owner(
    engine: Engine, owner: str, *, reason: str, max_crashes: int = MAX_CRASHES
) -> list[Loss]:
    """Free the jobs of one owner, for a parent that saw that process end.

    Args:
        reason: how it ended, with the end of its log; a POISONED job keeps it.
    """
    return _free(engine, lambda row: reason if row.owner == owner else None, max_crashes)


def loss(row: AnyRow, *, engine: Engine) -> str | None:
    """Say why a LEASED job's lease is lost; None while it holds.

    Args:
        row: of `LEASES`.
    """
    dead = _death(row)
    if dead is not None:
        return dead
    sqlite = engine.dialect.name == "sqlite"
    place = {"host": row.owner_host, "boot": row.owner_boot or ""}
    if sqlite and has_rebooted(**place):
        return f"{row.owner_host} was started again under process {row.owner_pid}"
    if row.has_run_out and not (sqlite and is_near(**place)):
        return f"process {row.owner_pid} on {row.owner_host} has not renewed its lease"
    return None


LEASES = select(
    JobRow.id,
    JobRow.state,
    JobRow.attempt,
    JobRow.crashes,
    JobRow.error,
    JobRow.cancel_requested,
    JobRow.pause_requested,
    JobRow.owner,
    JobRow.owner_host,
    JobRow.owner_pid,
    JobRow.owner_boot,
    JobRow.owner_started,
    (JobRow.lease_until < time_in(0)).label("has_run_out"),
)


def told(row: AnyRow, reason: str) -> str:
    """Return the losses of a job since its last progress, a line each, `reason` the last."""
    before = [] if row.crashes == 0 or not row.error else row.error.splitlines()
    return "\n".join([*before, f"attempt {row.attempt}: {reason}"])


def _death(row: AnyRow) -> str | None:
    if not is_near(host=row.owner_host, boot=row.owner_boot or ""):
        return None
    if has_ended(pid=row.owner_pid, started=row.owner_started):
        return f"process {row.owner_pid} on {row.owner_host} has ended"
    return None


def _free(engine: Engine, reason: Callable[[AnyRow], str | None], max_crashes: int) -> list[Loss]:
    # Most sweeps find nothing and shall not lock anything.
    with reading(engine) as connection:
        rows = connection.execute(_LEASED).all()
    found = []
    for job_id in [row.id for row in rows if reason(row) is not None]:
        with engine.begin() as connection:
            locked = _LEASED.where(JobRow.id == job_id).with_for_update()
            row = connection.execute(locked).one_or_none()
            why = None if row is None else reason(row)
            if row is not None and why is not None:
                found.append(_lose(connection, row, why, max_crashes))
    return found


# Spelt out: the index of LEASED jobs serves no state that comes as a parameter.
_LEASED = LEASES.where(JobRow.state == literal_column("'LEASED'"))


def _lose(connection: Connection, row: AnyRow, reason: str, max_crashes: int) -> Loss:
    # the death of a driver that ran one design alone is held against that design
    blamed = count_lone_deaths(connection, row.id, row.attempt) > 0
    crashes = row.crashes if blamed else row.crashes + 1
    error = row.error if blamed else told(row, reason)
    if row.cancel_requested:
        state = JobState.CANCELLED
    elif row.pause_requested:
        state = JobState.PAUSED
    elif crashes >= max_crashes:
        state = JobState.POISONED
        error = f"lost {crashes} drivers in a row and stored no result in between:\n{error}"
    else:
        state = JobState.READY
    said: dict[str, object] = {"crashes": crashes, "lost": reason}
    if state is JobState.POISONED:
        said["error"] = error
    settle(connection, row, state, said=said, crashes=crashes, error=error)
    return Loss(job_id=row.id, state=state, reason=reason)
