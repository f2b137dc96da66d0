"""Measurements, which all jobs share by content key, and the verdicts of one job.

The functions run within a transaction that has locked the job's row.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy import Connection, bindparam, select

from dse.tasks import Outcome
from storage.designs import finite
from storage.tables import EvaluationRow
from storage.text import storable
from storage.upserts import upserts

_STORED = select(EvaluationRow.metrics).where(EvaluationRow.key == bindparam("key"))


def store_measurement(
    connection: Connection,
    outcome: Outcome,
    *,
    job_id: str,
    workload: str,
    split: str,
    design_hash: str | None,
) -> dict[str, Mapping[str, float]]:
    """Store figures unless there are some under their key, and that the job has measured them.

    Returns:
        `stored` and `measured` where these differ; empty otherwise.

    Raises:
        StoreError: a figure is not finite.
    """
    key, metrics = outcome.key, finite(outcome.metrics or {}, f"evaluation {outcome.key}")
    row = {
        "key": key,
        "job_id": job_id,
        "workload": workload,
        "split": split,
        "design_hash": design_hash,
        "metrics": metrics,
        "seconds": outcome.seconds,
        "created_at": datetime.now(UTC),
    }
    statements = upserts(connection.dialect.name)
    if connection.execute(statements.measurement, row).rowcount > 0:
        return {}
    connection.execute(statements.use, {"job_id": job_id, "key": key})
    stored = connection.execute(_STORED, {"key": key}).scalar_one()
    return {} if stored == metrics else {"stored": stored, "measured": metrics}


def store_verdict(connection: Connection, job_id: str, outcome: Outcome) -> None:
    """Store why a job could not measure or retrain; repeated, it counts attempts."""
    verdict = {
        "job_id": job_id,
        "key": outcome.key,
        "outcome": outcome.status,
        "attempts": 1,
        "reason": storable(outcome.reason or "no reason given"),
    }
    connection.execute(upserts(connection.dialect.name).verdict, verdict)
