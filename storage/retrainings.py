"""Retrainings: weights that all jobs share by content key, as they share measurements.

The functions run within a transaction that has locked the job's row.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, exists, select

from dse.design import Design
from dse.errors import StoreError
from dse.tasks import CurvePoint, Outcome, Retrained, Retraining
from storage.designs import finite
from storage.flights import land
from storage.tables import RetrainingRow, RetrainingUseRow, VerdictRow
from storage.upserts import upserts

_job: BindParameter[str] = bindparam("job")
_keys: BindParameter[str] = bindparam("keys", expanding=True)
_judged = exists().where(VerdictRow.job_id == _job, VerdictRow.key == RetrainingRow.key)
_own = exists().where(RetrainingUseRow.job_id == _job, RetrainingUseRow.key == RetrainingRow.key)

RECALL = select(
    RetrainingRow.key,
    RetrainingRow.digest,
    RetrainingRow.size,
    RetrainingRow.best_step,
    RetrainingRow.curve,
).where(RetrainingRow.key.in_(_keys), ~_judged)
RECALL_OWN = RECALL.where(_own)


def store_retraining(
    connection: Connection, outcome: Outcome, task: Retraining, *, job_id: str, workload: str
) -> None:
    """Store the weights that a retraining left, in the place of any under the same key.

    Raises:
        StoreError: there are none, or a figure of the curve is not finite.
    """
    made = outcome.retrained
    if made is None:
        raise StoreError(f"retraining {outcome.key} is OK without weights")
    row = {
        "key": outcome.key,
        "job_id": job_id,
        "workload": workload,
        "design_hash": Design(task.choices).hash,
        "choices": Design(task.choices).to_json(),
        "steps": task.steps,
        "seed": task.seed,
        "digest": made.digest,
        "size": made.size,
        "best_step": made.best_step,
        "curve": [_point_row(point, outcome.key) for point in made.curve],
        "seconds": outcome.seconds,
        "created_at": datetime.now(UTC),
    }
    statements = upserts(connection.dialect.name)
    connection.execute(statements.retraining, row)
    connection.execute(statements.retraining_use, {"job_id": job_id, "key": outcome.key})
    # Weights that are made again have an older row, which must not pass for this flight's outcome.
    land(connection, job_id, outcome.key)


def retrained(row: Any) -> Retrained:  # rows have no static type
    """Return what a row of `RECALL` says."""
    return Retrained(
        digest=row.digest,
        size=row.size,
        best_step=row.best_step,
        curve=curve_points(row.curve),
    )


def curve_points(told: list[Mapping[str, Any]]) -> tuple[CurvePoint, ...]:  # JSON data
    """Return a curve as it was stored."""
    return tuple(CurvePoint(**point) for point in told)


def _point_row(point: CurvePoint, key: str) -> dict[str, float | int | None]:
    told = {"error": point.error} | ({} if point.loss is None else {"loss": point.loss})
    figures = finite(told, f"retraining {key}, step {point.step}")
    return {"step": point.step, "loss": figures.get("loss"), "error": figures["error"]}
