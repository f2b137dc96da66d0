"""What users ask of jobs. Each request is one transaction, may be repeated, and returns the job
as it then stands; ConflictError where the job's state forbids it."""

from collections.abc import Callable

from sqlalchemy import Connection, Engine, delete

from dse.errors import ConflictError, SpecError
from dse.spec import JobSpec, spec_from_data
from storage.repositories import Job, Jobs
from storage.states import AnyRow, lock, request, settle
from storage.tables import JobRow, JobState

_RESTING = tuple(state for state in JobState if state not in (JobState.READY, JobState.LEASED))
_EXTENDABLE = (JobState.SUCCEEDED, JobState.CANCELLED, JobState.PAUSED)
_DELETABLE = tuple(state for state in JobState if state is not JobState.LEASED)
_BEING_CANCELLED = "being cancelled"


def request_cancel(engine: Engine, job_id: str) -> Job:
    """Cancel a job: at once, or, when LEASED, by a flag that its driver sees."""

    def cancel(connection: Connection, row: AnyRow) -> None:
        if row.state in (JobState.READY, JobState.PAUSED):
            settle(connection, row, JobState.CANCELLED)
        elif row.state == JobState.LEASED:
            if not row.cancel_requested:
                request(connection, row, "cancel", cancel_requested=True)
        elif row.state != JobState.CANCELLED:
            allowed = (JobState.READY, JobState.LEASED, JobState.PAUSED)
            raise ConflictError(row.id, "cancelled", row.state, allowed)

    return _change(engine, job_id, cancel)


def request_pause(engine: Engine, job_id: str) -> Job:
    """Pause a job: at once, or, when LEASED, by a flag that its driver sees."""

    def pause(connection: Connection, row: AnyRow) -> None:
        allowed = (JobState.READY, JobState.LEASED)
        if row.state == JobState.READY:
            settle(connection, row, JobState.PAUSED)
        elif row.state == JobState.LEASED:
            if row.cancel_requested:
                raise ConflictError(row.id, "paused", _BEING_CANCELLED, allowed)
            if not row.pause_requested:
                request(connection, row, "pause", pause_requested=True)
        elif row.state != JobState.PAUSED:
            raise ConflictError(row.id, "paused", row.state, allowed)

    return _change(engine, job_id, pause)


def resume_job(engine: Engine, job_id: str) -> Job:
    """Make a job READY that rests; it goes on where it stood, one that SUCCEEDED to its end again.

    A LEASED job that was asked to pause is asked to go on.
    """

    def resume(connection: Connection, row: AnyRow) -> None:
        if row.state in _RESTING:
            settle(connection, row, JobState.READY, crashes=0, error=None)
        elif row.state == JobState.LEASED:
            if row.cancel_requested:
                raise ConflictError(row.id, "resumed", _BEING_CANCELLED, _RESTING)
            if row.pause_requested:
                request(connection, row, "resume", pause_requested=False)

    return _change(engine, job_id, resume)


def extend_job(engine: Engine, job_id: str, *, generations: int) -> Job:
    """Raise the number of generations of a job that has ended or rests, and make it READY.

    The job's spec changes, and its `spec_hash` with it.

    Args:
        generations: altogether.

    Raises:
        SpecError: not more than the job has.
    """

    def extend(connection: Connection, row: AnyRow) -> None:
        spec = spec_from_data(row.spec)
        had = spec.search.generations
        active = row.state in (JobState.READY, JobState.LEASED, JobState.SUCCEEDED)
        if generations == had and active:
            return  # a repetition
        if row.state not in _EXTENDABLE:
            raise ConflictError(row.id, "extended", row.state, _EXTENDABLE)
        if generations <= had:
            raise SpecError(f"generations must be above {had}, got {generations}")
        longer = _with_generations(spec, generations)
        settle(
            connection,
            row,
            JobState.READY,
            said={"generations": generations},
            spec=longer.model_dump(mode="json"),
            spec_hash=longer.digest(),
            crashes=0,
            error=None,
        )

    return _change(engine, job_id, extend)


def delete_job(engine: Engine, job_id: str) -> None:
    """Delete a job with all its rows; its measurements stay, for other jobs.

    Raises:
        ConflictError: it is LEASED.
        UnknownNameError: no such job.
    """
    with engine.begin() as connection:
        row = lock(connection, job_id)
        if row.state == JobState.LEASED:
            raise ConflictError(row.id, "deleted", row.state, _DELETABLE)
        connection.execute(delete(JobRow).where(JobRow.id == job_id))


def _with_generations(spec: JobSpec, generations: int) -> JobSpec:
    data = spec.model_dump(mode="json")
    data["search"]["generations"] = generations
    return spec_from_data(data)


def _change(engine: Engine, job_id: str, change: Callable[[Connection, AnyRow], None]) -> Job:
    with engine.begin() as connection:
        change(connection, lock(connection, job_id))
        return Jobs(connection).get(job_id)
