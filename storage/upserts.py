"""Inserts that may meet their row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

from storage.tables import (
    DispatchRow,
    EvaluationRow,
    EvaluationUseRow,
    IdempotencyRow,
    MetricRow,
    RetrainingRow,
    RetrainingUseRow,
    VerdictRow,
)

# Whether a row was there is told by the count of rows, which SQLAlchemy drops on Postgres.
_COUNTED = {"preserve_rowcount": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Upserts:
    """The upserts of one database; SQLite and Postgres each build their own."""

    measurement: Insert
    use: Insert
    retraining: Insert
    retraining_use: Insert
    verdict: Insert
    metric: Insert
    dispatch: Insert
    idempotency: Insert


@cache
def upserts(dialect: str) -> Upserts:
    """Build the upserts for "sqlite" or "postgresql"."""
    build: Callable[[Any], Any]  # Any: the two classes share no base with upserts
    build = postgresql.insert if dialect == "postgresql" else sqlite.insert
    verdict, metric, dispatch = build(VerdictRow), build(MetricRow), build(DispatchRow)
    retraining = build(RetrainingRow)
    others = [column.name for column in RetrainingRow.__table__.columns if column.name != "key"]
    return Upserts(
        measurement=build(EvaluationRow)
        .on_conflict_do_nothing(index_elements=["key"])
        .execution_options(**_COUNTED),
        use=build(EvaluationUseRow).on_conflict_do_nothing(index_elements=["job_id", "key"]),
        retraining=retraining.on_conflict_do_update(
            index_elements=["key"],
            set_={name: retraining.excluded[name] for name in others},
        ),
        retraining_use=build(RetrainingUseRow).on_conflict_do_nothing(
            index_elements=["job_id", "key"]
        ),
        verdict=verdict.on_conflict_do_update(
            index_elements=["job_id", "key"],
            set_={
                "attempts": VerdictRow.attempts + 1,
                "outcome": verdict.excluded.outcome,
                "reason": verdict.excluded.reason,
            },
        ),
        metric=metric.on_conflict_do_update(
            index_elements=["design_id", "name"], set_={"value": metric.excluded.value}
        ),
        dispatch=dispatch.on_conflict_do_update(
            index_elements=["job_id", "key"],
            set_={"attempt": dispatch.excluded.attempt, "alone": dispatch.excluded.alone},
        ),
        idempotency=build(IdempotencyRow)
        .on_conflict_do_nothing(index_elements=["principal", "key"])
        .execution_options(**_COUNTED),
    )
