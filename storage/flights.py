"""Evaluations and retrainings in flight, recorded before they run, so that a design which
takes its worker down is known.

Only deaths while an evaluation ran alone count against it, so that whatever else ends a worker
condemns no design. The functions run within a transaction that has locked the job's row.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, delete, exists, select, update

from dse.tasks import Status
from storage import events
from storage.states import note
from storage.tables import DispatchRow, EvaluationRow, VerdictRow
from storage.upserts import upserts

MAX_DEATHS = 3
"""Deaths while alone after which an evaluation is POISONED."""


def take_off(
    connection: Connection, job_id: str, attempt: int, keys: Iterable[str], *, alone: bool
) -> None:
    """Mark evaluations as in flight; earlier deaths stay counted."""
    rows = [
        {"job_id": job_id, "key": key, "attempt": attempt, "alone": alone, "deaths": 0}
        for key in dict.fromkeys(keys)
    ]
    if rows:
        connection.execute(upserts(connection.dialect.name).dispatch, rows)


def land(connection: Connection, job_id: str, key: str) -> None:
    """Forget one flight: it has its outcome."""
    connection.execute(_LAND, {"job": job_id, "of_key": key})


def land_all(connection: Connection, job_id: str) -> None:
    """Forget a job's flights: all have their outcomes."""
    connection.execute(_LAND_ALL, {"job": job_id})


def call_back(connection: Connection, job_id: str, attempt: int) -> None:
    """Forget the flights of a driver that ends of its own accord; none of them killed it."""
    connection.execute(_CALL_BACK, {"job": job_id, "attempt": attempt})


def count_lone_deaths(connection: Connection, job_id: str, attempt: int) -> int:
    """Count the death of a driver against what it ran alone; return how many that were."""
    found = {"job": job_id, "attempt": attempt}
    keys = connection.scalars(_LONE, found).all()
    for key in keys:
        count_death(connection, job_id, key)
    return len(keys)


def count_death(connection: Connection, job_id: str, key: str) -> int:
    """Count a death of an evaluation that ran alone; return how many there were.

    The last that is allowed makes it POISONED, with its event.
    """
    which = {"job": job_id, "of_key": key}
    connection.execute(_COUNT, which)
    deaths = connection.scalar(DEATHS, which) or 0
    if deaths >= MAX_DEATHS:
        reason = f"its process died {deaths} times while it ran alone"
        verdict = {
            "job_id": job_id,
            "key": key,
            "outcome": Status.POISONED,
            "attempts": deaths,
            "reason": reason,
        }
        connection.execute(upserts(connection.dialect.name).verdict, verdict)
        data: dict[str, object] = {"key": key, "reason": reason}
        note(connection, job_id, events.EventKind.EVALUATION_POISONED, data)
    return deaths


_mine = DispatchRow.job_id == bindparam("job")
_this = (_mine, DispatchRow.key == bindparam("of_key"))
SUSPECTS = select(DispatchRow.key).where(_mine, DispatchRow.attempt < bindparam("attempt"))
DEATHS = select(DispatchRow.deaths).where(*_this)
_LAND = delete(DispatchRow).where(*_this)
_LAND_ALL = delete(DispatchRow).where(_mine)
_CALL_BACK = delete(DispatchRow).where(
    _mine, DispatchRow.attempt == bindparam("attempt"), DispatchRow.deaths == 0
)
_LONE = select(DispatchRow.key).where(
    _mine,
    DispatchRow.attempt == bindparam("attempt"),
    DispatchRow.alone,
    ~exists().where(EvaluationRow.key == DispatchRow.key),
    ~exists().where(VerdictRow.job_id == DispatchRow.job_id, VerdictRow.key == DispatchRow.key),
)
_COUNT = update(DispatchRow).where(*_this).values(deaths=DispatchRow.deaths + 1, alone=False)
