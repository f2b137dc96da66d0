"""Events: what happened to a job, in order."""

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

from sqlalchemy import Connection, insert

from storage.tables import EventRow


class EventKind(StrEnum):
    """What events tell; behind each what its data hold.

    JOB_STATE: the job's state changed. `state`, `attempt`; `error` where it ended with one;
        `crashes` and `lost` (what is known of it) where its driver was lost; `generations` where
        it was extended; `cloned_from` where another job's spec was taken.
    JOB_REQUEST: a running job was asked to stop, or to go on after all. `request`: "cancel",
        "pause" or "resume".
    GENERATION_FINISHED: `generation`, `hypervolume`, `front` (its size), and the counts
        `designs`, `measured`, `cached`, `screened`, `failed`.
    EVALUATION_MISMATCH: a second measurement differs from the first. `key`, `stored`, `measured`.
    EVALUATION_POISONED: an evaluation or retraining was given up, its process died of it. `key`,
        `reason`.
    JOB_PROGRESS: how far data, training or baselines are, every few seconds. `label`, `done`,
        `total`.
    SEARCH_EXHAUSTED: no design is left to propose. `generation`.
    BEACON_CREATED: a generation ended with a beacon more. `number`, `design` (its hash),
        `sha256` (of the weights); `best_step`, `base_error` and `error` (of the design before
        and after), as far as known.
    BEACON_FAILED: a design could not be retrained. `number`, `design`, `reason`.
    BEACON_LOST: a beacon's weights cannot be used any more. `number`, `sha256`, `reason`.
    BEACON_UNAVAILABLE: a design could not be run on a beacon near it, which then does not count.
        `design`, `beacon` (its number), `reason`.
    """

    JOB_STATE = "job.state"
    JOB_REQUEST = "job.request"
    GENERATION_FINISHED = "generation.finished"
    EVALUATION_MISMATCH = "evaluation.mismatch"
    EVALUATION_POISONED = "evaluation.poisoned"
    JOB_PROGRESS = "job.progress"
    SEARCH_EXHAUSTED = "search.exhausted"
    BEACON_CREATED = "beacon.created"
    BEACON_FAILED = "beacon.failed"
    BEACON_LOST = "beacon.lost"
    BEACON_UNAVAILABLE = "beacon.unavailable"


_APPEND = insert(EventRow)


def append(
    connection: Connection, *, job_id: str, seq: int, kind: str, data: Mapping[str, object]
) -> None:
    """Store an event under the number that the same transaction's update of the job gave out.

    The update locks the job's row, so numbers have no gap and become visible in order.
    """
    values = {"job_id": job_id, "seq": seq, "kind": kind, "data": data, "at": datetime.now(UTC)}
    connection.execute(_APPEND, values)
