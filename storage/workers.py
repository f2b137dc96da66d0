"""The processes that take jobs, as they tell of themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, delete, insert, select, update

from storage.clock import time_in
from storage.owners import Owner, has_ended, is_near
from storage.states import AnyRow
from storage.tables import WorkerRow

SILENT_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A worker as it last told of itself.

    Attributes:
        id: of its `Owner`, which its leases carry.
        slots: evaluations that it runs at the same time.
        versions: of what its results may depend on: name -> version.
        last_seen: by the database's clock.
    """

    id: str
    host: str
    pid: int
    slots: int
    versions: Mapping[str, Any]  # JSON data: strings
    registered_at: datetime
    last_seen: datetime


def register_worker(
    engine: Engine, owner: Owner, *, slots: int, versions: Mapping[str, str]
) -> None:
    """Enter a worker; drop those that are seen to have ended, or were silent for an hour."""
    values = {
        "id": owner.id,
        "host": owner.host,
        "pid": owner.pid,
        "boot": owner.boot,
        "started": owner.started,
        "slots": slots,
        "versions": dict(versions),
    }
    with engine.begin() as connection:
        connection.execute(delete(WorkerRow).where(WorkerRow.last_seen < time_in(-SILENT_S)))
        ended = [row.id for row in connection.execute(_PROCESSES) if _has_ended(row)]
        connection.execute(delete(WorkerRow).where(WorkerRow.id.in_(ended)))
        connection.execute(_REGISTER, values)


def _has_ended(row: AnyRow) -> bool:
    near = is_near(host=row.host, boot=row.boot)
    return near and has_ended(pid=row.pid, started=row.started)


_PROCESSES = select(WorkerRow.id, WorkerRow.host, WorkerRow.boot, WorkerRow.pid, WorkerRow.started)
_REGISTER = insert(WorkerRow).values(registered_at=time_in(0), last_seen=time_in(0))


def beat_worker(engine: Engine, owner_id: str) -> bool:
    """Tell that a worker is there; False when it is not entered (any more)."""
    with engine.begin() as connection:
        return connection.execute(_BEAT, {"of": owner_id}).rowcount == 1


_BEAT = update(WorkerRow).where(WorkerRow.id == bindparam("of")).values(last_seen=time_in(0))


def forget_worker(engine: Engine, owner_id: str) -> None:
    """Drop a worker that ends; repeatable."""
    with engine.begin() as connection:
        connection.execute(delete(WorkerRow).where(WorkerRow.id == owner_id))


def list_workers(connection: Connection) -> list[Worker]:
    """Return the workers, the longest there first."""
    rows = connection.execute(_WORKERS)
    return [Worker(**row._asdict()) for row in rows]


_WORKERS = select(*(WorkerRow.__table__.c[name] for name in Worker.__dataclass_fields__)).order_by(
    WorkerRow.registered_at, WorkerRow.id
)
