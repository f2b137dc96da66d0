"""A job's designs in rows: proposed with their costs, concluded with what was found of them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, delete, update

from dse.design import Evaluation
from dse.errors import StoreError
from dse.metrics import TEST_PREFIX
from dse.ports import Proposal, Role
from storage.tables import DesignRow, MetricRow
from storage.text import storable
from storage.upserts import upserts

_CONCLUDE = (
    update(DesignRow)
    .where(DesignRow.id == bindparam("design"))
    .values(
        feasible=bindparam("is_feasible"),
        violation=bindparam("by"),
        origin=bindparam("from_weights"),
        reason=bindparam("why"),
        base_error=bindparam("on_base"),
        beacon=bindparam("read_on"),
        beacon_distance=bindparam("from_beacon"),
        beacon_error=bindparam("on_beacon"),
    )
)
_FORGET = delete(MetricRow).where(MetricRow.design_id == bindparam("design"))


def proposal_rows(
    job_id: str, role: Role, generation: int, proposals: Sequence[Proposal]
) -> list[dict[str, object]]:
    """Return the rows of one generation's designs, in order."""
    return [
        {
            "job_id": job_id,
            "role": role,
            "generation": generation,
            "position": position,
            "hash": proposal.design.hash,
            "genome": None if proposal.genome is None else [int(g) for g in proposal.genome],
            "choices": proposal.design.to_json(),
            "label": proposal.label,
            "evaluation_key": proposal.key,
            "violation": proposal.violation,
        }
        for position, proposal in enumerate(proposals)
    ]


def conclude(connection: Connection, placed: Sequence[tuple[int, Evaluation]]) -> None:
    """Fill in what was found of designs, each given with the id of its row; repeatable."""
    if placed:
        connection.execute(_CONCLUDE, [_conclusion(id_, found) for id_, found in placed])
        set_metrics(connection, ((e.design.hash, id_, e.metrics) for id_, e in placed))


def revise(connection: Connection, placed: Sequence[tuple[int, Evaluation]]) -> None:
    """Put new findings in the place of those before.

    Figures that are not among them go, and those of the test split: they were measured on other
    weights, it may be, and are measured again if the design stays on the front.
    """
    if placed:
        connection.execute(_FORGET, [{"design": id_} for id_, _ in placed])
        conclude(connection, [(id_, _without_test(found)) for id_, found in placed])


def _without_test(evaluation: Evaluation) -> Evaluation:
    kept = {n: v for n, v in evaluation.metrics.items() if not n.startswith(TEST_PREFIX)}
    return replace(evaluation, metrics=kept)


def set_metrics(
    connection: Connection, items: Iterable[tuple[str, int, Mapping[str, float]]]
) -> None:
    """Store figures of designs, each given with its hash and the id of its row; repeatable.

    Raises:
        StoreError: a figure is not finite.
    """
    rows = [
        {"design_id": design_id, "name": name, "value": value}
        for design_hash, design_id, figures in items
        for name, value in finite(figures, f"design {design_hash}").items()
    ]
    if rows:
        connection.execute(upserts(connection.dialect.name).metric, rows)


def finite(figures: Mapping[str, float], whose: str) -> dict[str, float]:
    """Return figures as floats.

    Raises:
        StoreError: one is not finite.
    """
    for name, value in figures.items():
        if not math.isfinite(value):
            raise StoreError(f"{whose}: {name} must be a finite number, got {value}")
    return {name: float(value) for name, value in figures.items()}


def _conclusion(design_id: int, evaluation: Evaluation) -> dict[str, object]:
    reading = evaluation.beacon
    told = {"base_error": evaluation.base_error}
    if reading is not None:
        told |= {"beacon_distance": reading.distance, "beacon_error": reading.error}
    present = {name: value for name, value in told.items() if value is not None}
    figures = finite(present, f"design {evaluation.design.hash}")
    return {
        "design": design_id,
        "is_feasible": evaluation.feasible,
        "by": evaluation.violation,
        "from_weights": evaluation.origin,
        "why": None if evaluation.reason is None else storable(evaluation.reason),
        "on_base": figures.get("base_error"),
        "read_on": None if reading is None else reading.number,
        "from_beacon": figures.get("beacon_distance"),
        "on_beacon": figures.get("beacon_error"),
    }
