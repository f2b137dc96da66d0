"""A step in a job's life: an update of its row with the event that tells of it."""

from collections.abc import Mapping
from typing import Any, final

from sqlalchemy import (
    ColumnClause,
    Connection,
    Engine,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
)
from sqlalchemy import literal_column as literal
from sqlalchemy.sql.dml import ReturningUpdate, Update

from storage import events
from storage.flights import call_back
from storage.states import AnyRow
from storage.tables import DispatchRow, EventRow, JobRow


@final
class Step:
    """Changes the state of at most one job, under its next event number.

    Args:
        statement: the update; it has a parameter "now".
        gives_up: a driver ends with it: its flights are called back, the event tells the error.
    """

    def __init__(self, statement: Update, *, gives_up: bool = False) -> None:
        numbered = statement.values(event_seq=JobRow.event_seq + 1, version=JobRow.version + 1)
        told = (JobRow.error,) if gives_up else ()
        self._gives_up = gives_up
        self._statement: ReturningUpdate[*tuple[Any, ...]] = numbered.returning(
            JobRow.id, JobRow.attempt, JobRow.generation, JobRow.event_seq, JobRow.state, *told
        )
        self._at_once = _at_once(self._statement, gives_up=gives_up)

    def take(self, engine: Engine, values: Mapping[str, object]) -> AnyRow | None:
        """Take the step in a transaction of its own; return the row, None if there is none."""
        if engine.dialect.name == "sqlite":
            with engine.begin() as connection:
                return self.take_within(connection, values)
        # One statement is a transaction, and one journey to the server instead of four.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            return connection.execute(self._at_once, values).one_or_none()

    def take_within(self, connection: Connection, values: Mapping[str, object]) -> AnyRow | None:
        """Take the step in a transaction of the caller's; otherwise as `take`."""
        row = connection.execute(self._statement, values).one_or_none()
        if row is None:
            return None
        data: dict[str, object] = {"state": row.state, "attempt": row.attempt}
        if self._gives_up:
            call_back(connection, row.id, row.attempt)
            data |= {"error": row.error} if row.error is not None else {}
        kind = events.EventKind.JOB_STATE
        events.append(connection, job_id=row.id, seq=row.event_seq, kind=kind, data=data)
        return row


def _at_once(
    statement: ReturningUpdate[*tuple[Any, ...]], *, gives_up: bool
) -> Select[*tuple[Any, ...]]:
    job = statement.cte("stepped")
    told = [literal("'state'"), job.c.state, literal("'attempt'"), job.c.attempt]
    told += [literal("'error'"), job.c.error] if gives_up else []
    data = func.json_strip_nulls(func.json_build_object(*told))
    kind: ColumnClause[str] = literal(f"'{events.EventKind.JOB_STATE}'")
    event = select(job.c.id, job.c.event_seq, kind, data, bindparam("now", type_=EventRow.at.type))
    append = insert(EventRow).from_select(["job_id", "seq", "kind", "data", "at"], event)
    whole = select(job).add_cte(append.cte("told"))
    if not gives_up:
        return whole
    flights = delete(DispatchRow).where(
        DispatchRow.job_id == job.c.id,
        DispatchRow.attempt == job.c.attempt,
        DispatchRow.deaths == 0,
    )
    return whole.add_cte(flights.cte("called_back"))
