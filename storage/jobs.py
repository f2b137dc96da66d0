"""Jobs come into being here, and unfinished ones are found again."""

import secrets
import time
from datetime import UTC, datetime

from sqlalchemy import Engine, insert, select

from dse.spec import JobSpec
from storage import events
from storage.engine import reading
from storage.tables import JobRow, JobState

UNFINISHED = (JobState.READY, JobState.LEASED, JobState.PAUSED)


def create_job(engine: Engine, spec: JobSpec) -> str:
    """Store a READY job and return its id; ids sort by time of creation."""
    job_id, at = _new_id(), datetime.now(UTC)
    values = {
        "id": job_id,
        "name": spec.name,
        "workload": spec.workload.name,
        "state": JobState.READY,
        "priority": spec.priority,
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec.digest(),
        "attempt": 0,
        "crashes": 0,
        "cancel_requested": False,
        "pause_requested": False,
        "generation": -1,
        "event_seq": 1,
        "version": 1,
        "created_at": at,
        "updated_at": at,
    }
    with engine.begin() as connection:
        connection.execute(insert(JobRow), values)
        events.append(
            connection,
            job_id=job_id,
            seq=1,
            kind=events.JOB_STATE,
            data={"state": JobState.READY, "attempt": 0},
        )
    return job_id


def find_unfinished(
    engine: Engine, spec_hash: str, *, states: tuple[JobState, ...] = UNFINISHED
) -> list[str]:
    """Return the jobs of that spec in one of `states`, the furthest advanced first.

    Whether a LEASED one can be had, only `storage.leases.claim` can tell.
    """
    found = (
        select(JobRow.id)
        .where(JobRow.spec_hash == spec_hash, JobRow.state.in_(states))
        .order_by(JobRow.generation.desc(), JobRow.id)
    )
    with reading(engine) as connection:
        return list(connection.scalars(found))


def _new_id() -> str:
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
