"""Beacons of a job: as its driver goes on with them, and as users see them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import fsum
from typing import Any

from sqlalchemy import BindParameter, Connection, and_, bindparam, insert, select, update

from dse.design import Beacon, Design
from dse.errors import UnknownNameError
from dse.ports import Role
from dse.tasks import CurvePoint
from storage.events import EventKind
from storage.retrainings import curve_points
from storage.tables import BeaconRow, DesignRow, RetrainingRow
from storage.text import storable


class BeaconState(StrEnum):
    """Whether a beacon's weights can be used: READY; FAILED, its retraining gave none; LOST,
    their file could not be used later on."""

    READY = "READY"
    FAILED = "FAILED"
    LOST = "LOST"


@dataclass(frozen=True, slots=True, kw_only=True)
class BeaconSummary:
    """A beacon with what came of it.

    Attributes:
        generation: at whose end it was made.
        digest: SHA-256 (hex) of its weights, also once they are LOST; None where it FAILED.
        reason: why it FAILED or is LOST.
        steps, seed, best_step, size, curve, seconds: of its retraining; None, and an empty
            curve, where it FAILED.
        base_error: of its design on the base weights, %.
        error: of its design at the best step of the retraining, %.
        served: how many designs of the search have their error from it.
        mean_gain: points by which their errors on the base weights are higher, on average; None
            where none is known on both.
    """

    number: int
    generation: int
    state: BeaconState
    design: Design
    digest: str | None
    reason: str | None
    steps: int | None
    seed: int | None
    best_step: int | None
    size: int | None
    curve: tuple[CurvePoint, ...]
    seconds: float | None
    base_error: float | None
    error: float | None
    served: int
    mean_gain: float | None


def list_beacons(connection: Connection, job_id: str) -> list[BeaconSummary]:
    """Return a job's beacons with what came of them, by number."""
    rows = connection.execute(_SUMMARIES, {"job": job_id}).all()
    served: dict[str | None, list[float | None]] = {}
    for origin, gain in connection.execute(_SERVED, {"job": job_id}) if rows else ():
        served.setdefault(origin, []).append(gain)
    return [_summary(row, served.get(f"beacon {row.number}", [])) for row in rows]


def find_beacon(connection: Connection, job_id: str, number: int) -> BeaconSummary:
    """Return one of a job's beacons.

    Raises:
        UnknownNameError: there is none of this number.
    """
    found = {beacon.number: beacon for beacon in list_beacons(connection, job_id)}
    if number not in found:
        raise UnknownNameError("beacon", number, [str(known) for known in sorted(found)])
    return found[number]


def stored_beacons(connection: Connection, job_id: str) -> list[Beacon]:
    """Return a job's beacons as its search knows them, by number."""
    return [
        Beacon(
            number=row.number,
            design=Design(row.choices),
            generation=row.generation,
            key=row.key,
            digest=None if row.lost else row.digest,
            reason=row.reason,
        )
        for row in connection.execute(_BEACONS, {"job": job_id})
    ]


def store_beacons(connection: Connection, job_id: str, beacons: Sequence[Beacon]) -> None:
    """Store beacons that were made or that failed."""
    rows = [
        {
            "job_id": job_id,
            "number": beacon.number,
            "generation": beacon.generation,
            "design_hash": beacon.design.hash,
            "choices": beacon.design.to_json(),
            "key": beacon.key,
            "digest": beacon.digest,
            "lost": False,
            "reason": None if beacon.reason is None else storable(beacon.reason),
        }
        for beacon in beacons
    ]
    if rows:
        connection.execute(insert(BeaconRow), rows)


def births(
    connection: Connection, job_id: str, numbers: Collection[int]
) -> list[tuple[EventKind, dict[str, object]]]:
    """Return the events that tell of new beacons, once all of their generation is stored."""
    new = [b for b in list_beacons(connection, job_id) if b.number in numbers] if numbers else []
    return [_birth(beacon) for beacon in new]


def _birth(beacon: BeaconSummary) -> tuple[EventKind, dict[str, object]]:
    told: dict[str, object] = {"number": beacon.number, "design": beacon.design.hash}
    if beacon.state is BeaconState.FAILED:
        return EventKind.BEACON_FAILED, told | {"reason": beacon.reason}
    facts = {
        "sha256": beacon.digest,
        "best_step": beacon.best_step,
        "base_error": beacon.base_error,
        "error": beacon.error,
    }
    told |= {name: fact for name, fact in facts.items() if fact is not None}
    return EventKind.BEACON_CREATED, told


def mark_lost(connection: Connection, job_id: str, number: int, reason: str) -> str | None:
    """Note that a beacon's weights cannot be used; return their SHA-256, None if that was known
    or there never were any."""
    told = {"job": job_id, "of_number": number, "why": storable(reason)}
    return connection.execute(_LOSE, told).scalar_one_or_none()


_job: BindParameter[str] = bindparam("job")
_BEACONS = (
    select(*BeaconRow.__table__.columns).where(BeaconRow.job_id == _job).order_by(BeaconRow.number)
)
# Of a retraining that has been made again with other weights nothing is told of these.
_SUMMARIES = (
    select(
        *BeaconRow.__table__.columns,
        *(
            RetrainingRow.__table__.c[name]
            for name in ("steps", "seed", "best_step", "size", "curve", "seconds")
        ),
        DesignRow.base_error,
    )
    .outerjoin(
        RetrainingRow,
        and_(RetrainingRow.key == BeaconRow.key, RetrainingRow.digest == BeaconRow.digest),
    )
    .outerjoin(
        DesignRow,
        and_(
            DesignRow.job_id == BeaconRow.job_id,
            DesignRow.role == Role.SEARCH,
            DesignRow.hash == BeaconRow.design_hash,
        ),
    )
    .where(BeaconRow.job_id == _job)
    .order_by(BeaconRow.number)
)
_SERVED = select(DesignRow.origin, DesignRow.base_error - DesignRow.beacon_error).where(
    DesignRow.job_id == _job, DesignRow.role == Role.SEARCH, DesignRow.origin.like("beacon %")
)
_LOSE = (
    update(BeaconRow)
    .where(
        BeaconRow.job_id == _job,
        BeaconRow.number == bindparam("of_number"),
        BeaconRow.digest.is_not(None),
        BeaconRow.lost.is_(False),
    )
    .values(lost=True, reason=bindparam("why"))
    .returning(BeaconRow.digest)
)


def _summary(row: Any, gains: list[float | None]) -> BeaconSummary:  # rows have no static type
    known = [gain for gain in gains if gain is not None]
    curve = curve_points(row.curve or [])
    best = [point.error for point in curve if point.step == row.best_step]
    ready = BeaconState.FAILED if row.digest is None else BeaconState.READY
    return BeaconSummary(
        number=row.number,
        generation=row.generation,
        state=BeaconState.LOST if row.lost else ready,
        design=Design(row.choices),
        digest=row.digest,
        reason=row.reason,
        steps=row.steps,
        seed=row.seed,
        best_step=row.best_step,
        size=row.size,
        curve=curve,
        seconds=row.seconds,
        base_error=row.base_error,
        error=best[0] if best else None,
        served=len(gains),
        mean_gain=fsum(known) / len(known) if known else None,
    )
