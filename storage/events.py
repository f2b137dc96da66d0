"""Events: what happened to a job, in order."""

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, insert

from storage.tables import EventRow

JOB_STATE = "job.state"
GENERATION_FINISHED = "generation.finished"
EVALUATION_MISMATCH = "evaluation.mismatch"

_APPEND = insert(EventRow)


def append(
    connection: Connection, *, job_id: str, seq: int, kind: str, data: Mapping[str, object]
) -> None:
    """Store an event under the number that the same transaction's update of the job gave out.

    The update locks the job's row, so numbers have no gap and become visible in order.
    """
    values = {"job_id": job_id, "seq": seq, "kind": kind, "data": data, "at": datetime.now(UTC)}
    connection.execute(_APPEND, values)
