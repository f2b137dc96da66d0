"""The front as stays: a row says in which generation a design entered and dropped out."""

from collections.abc import Mapping

from sqlalchemy import Connection, bindparam, insert, select, update

from storage.tables import DesignRow, FrontRow

CURRENT = (
    select(DesignRow.hash, DesignRow.id)
    .join(FrontRow, FrontRow.design_id == DesignRow.id)
    .where(FrontRow.job_id == bindparam("job"), FrontRow.dropped.is_(None))
    .order_by(DesignRow.generation, DesignRow.position)
)
"""The members of the last front, in order of (generation, position)."""

_ENTER = insert(FrontRow)
_LEAVE = (
    update(FrontRow)
    .where(
        FrontRow.job_id == bindparam("job"),
        FrontRow.design_id == bindparam("design"),
        FrontRow.dropped.is_(None),
    )
    .values(dropped=bindparam("number"))
)


def move_front(
    connection: Connection, job_id: str, generation: int, after: Mapping[str, int]
) -> None:
    """Close the stays of members that dropped out and open those of new ones.

    Args:
        after: the front after `generation`: hash -> design id.
    """
    before = {row.hash: row.id for row in connection.execute(CURRENT, {"job": job_id})}
    left: list[dict[str, object]] = [
        {"job": job_id, "design": design_id, "number": generation}
        for h, design_id in before.items()
        if h not in after
    ]
    entered: list[dict[str, object]] = [
        {"job_id": job_id, "design_id": design_id, "entered": generation}
        for h, design_id in after.items()
        if h not in before
    ]
    if left:
        connection.execute(_LEAVE, left)
    if entered:
        connection.execute(_ENTER, entered)
