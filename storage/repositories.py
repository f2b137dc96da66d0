"""What is read of jobs and their results; every SELECT for users stands here.

Repositories live as long as one read transaction, so that what they return belongs together:

    with reading(engine) as connection:
        results = Results(connection)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, tuple_

from dse.design import BeaconReading, Design, Evaluation
from dse.errors import UnknownNameError
from dse.ports import Role
from storage.tables import (
    DesignRow,
    EventRow,
    FrontRow,
    GenerationRow,
    JobRow,
    JobState,
    MetricRow,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it stands.

    Attributes:
        spec: the job spec as JSON data.
        owner: id of the `Owner` that holds a LEASED job.
        attempt: leases that it had.
        crashes: leases lost since its last progress.
        cancel_requested, pause_requested: of a LEASED job, not yet heeded by its driver.
        generation: the last finished one, -1 for none.
        event_seq: number of its last event.
        version: grows with every change but a renewed lease.
        float_metrics, reference_point: fixed before generation 0; None until then.
        platforms: name -> digest of what it was when the job began; None until then.
    """

    id: str
    name: str
    workload: str
    state: JobState
    priority: int
    spec: Mapping[str, Any]  # JSON data of `dse.spec.JobSpec`
    spec_hash: str
    owner: str | None
    attempt: int
    crashes: int
    cancel_requested: bool
    pause_requested: bool
    generation: int
    event_seq: int
    version: int
    float_metrics: Mapping[str, float] | None
    reference_point: Mapping[str, float] | None
    platforms: Mapping[str, str] | None
    error: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSummary:
    """A finished generation without the optimizer's state."""

    number: int
    hypervolume: float
    designs: int
    measured: int
    cached: int
    screened: int
    failed: int
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How far a job is.

    Attributes:
        generations: finished ones; `designs` to `failed` are sums over them.
        front: members after the last of them.
    """

    generations: int
    designs: int
    measured: int
    cached: int
    screened: int
    failed: int
    front: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job; `seq` counts 1, 2, … without a gap."""

    seq: int
    kind: str
    data: Mapping[str, Any]  # JSON data, by kind
    at: datetime


@final
class Jobs:
    """The jobs."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            UnknownNameError: no such job.
        """
        row = self._connection.execute(_JOBS.where(JobRow.id == job_id)).one_or_none()
        if row is None:
            raise unknown_job(self._connection, job_id)
        return Job(**row._asdict())

    def find(self, told: str) -> Job:
        """Return the job whose id begins with `told`, or the "latest".

        Raises:
            UnknownNameError: none, or more than one.
        """
        ids = select(JobRow.id).order_by(JobRow.id.desc())
        if told == "latest":
            ids = ids.limit(1)
        else:
            ids = ids.where(JobRow.id.startswith(told, autoescape=True)).limit(2)
        found = list(self._connection.scalars(ids))
        if len(found) > 1:
            raise UnknownNameError("job", f"{told}…", found)
        return self.get(found[0] if found else told)

    def all(self, *, state: JobState | None = None) -> list[Job]:
        """Return the jobs, of one state or all, the youngest first."""
        return self.page(None, state=state)

    def page(
        self, limit: int | None, *, before: str | None = None, state: JobState | None = None
    ) -> list[Job]:
        """Return up to `limit` jobs, the youngest first.

        Args:
            before: id of the last job of the page before this one.
        """
        wanted = _JOBS.order_by(JobRow.id.desc()).limit(limit)
        if before is not None:
            wanted = wanted.where(JobRow.id < before)
        if state is not None:
            wanted = wanted.where(JobRow.state == state)
        return [Job(**row._asdict()) for row in self._connection.execute(wanted)]

    def latest_seq(self, job_id: str) -> int:
        """Return the number of the job's last event.

        Raises:
            UnknownNameError: no such job.
        """
        seq = self._connection.scalar(select(JobRow.event_seq).where(JobRow.id == job_id))
        if seq is None:
            raise unknown_job(self._connection, job_id)
        return seq


def unknown_job(connection: Connection, job_id: str) -> UnknownNameError:
    """Return the error of a job that does not exist; it names the youngest that do."""
    youngest = select(JobRow.id).order_by(JobRow.id.desc()).limit(5)
    return UnknownNameError("job", job_id, list(connection.scalars(youngest)))


_JOBS = select(*(JobRow.__table__.c[name] for name in Job.__dataclass_fields__))


@final
class Results:
    """What jobs have found."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def evaluations(self, job_id: str, role: Role = Role.SEARCH) -> list[Evaluation]:
        """Return the concluded designs of a role, by (generation, position)."""
        return self._evaluations(
            and_(DesignRow.job_id == job_id, DesignRow.role == role, _concluded)
        )

    def page(
        self,
        job_id: str,
        role: Role = Role.SEARCH,
        *,
        limit: int,
        after: tuple[int, int] | None = None,
        feasible: bool | None = None,
    ) -> list[Evaluation]:
        """Return up to `limit` concluded designs of a role, by (generation, position).

        Args:
            after: (generation, position) of the last design of the page before this one.
            feasible: only those that are, or are not.
        """
        wanted = _DESIGNS.where(
            DesignRow.job_id == job_id,
            DesignRow.role == role,
            _concluded if feasible is None else DesignRow.feasible.is_(feasible),
        )
        if after is not None:
            wanted = wanted.where(tuple_(*_DESIGN_ORDER) > tuple_(*after))
        rows = self._connection.execute(wanted.order_by(*_DESIGN_ORDER).limit(limit)).all()
        figures = self._figures(DesignRow.id.in_([row.id for row in rows]))
        return [_evaluation(row, figures.get(row.id, {})) for row in rows]

    def found(self, job_id: str, hashes: Sequence[str]) -> dict[str, Evaluation]:
        """Return what the search found of designs, by hash, as far as it is concluded."""
        rows = self._evaluations(
            and_(
                DesignRow.job_id == job_id,
                DesignRow.role == Role.SEARCH,
                DesignRow.hash.in_(hashes),
                _concluded,
            )
        )
        return {e.design.hash: e for e in rows}

    def found_since(self, job_id: str, generation: int) -> list[Evaluation]:
        """Return what the search found of the designs of a generation and of those after it, by
        (generation, position), as far as it is concluded."""
        return self._evaluations(
            and_(
                DesignRow.job_id == job_id,
                DesignRow.role == Role.SEARCH,
                DesignRow.generation >= generation,
                _concluded,
            )
        )

    def design(self, told: str) -> Design:
        """Return the design of any job whose hash begins with `told`.

        Raises:
            UnknownNameError: none, or more than one.
        """
        rows = self._connection.execute(
            select(DesignRow.hash, DesignRow.choices)
            .where(DesignRow.hash.startswith(told, autoescape=True))
            .order_by(DesignRow.hash)
        )
        found = {row.hash: row.choices for row in rows}
        if len(found) != 1:
            raise UnknownNameError("design", told, list(found)[:5])
        return Design(next(iter(found.values())))

    def front(self, job_id: str, generation: int | None = None) -> list[Evaluation]:
        """Return the front after a generation (the last finished one, if None), by (generation,
        position); each design with what is known of it today."""
        members = select(FrontRow.design_id).where(FrontRow.job_id == job_id)
        if generation is None:
            members = members.where(FrontRow.dropped.is_(None))
        else:
            members = members.where(
                FrontRow.entered <= generation,
                or_(FrontRow.dropped.is_(None), FrontRow.dropped > generation),
            )
        return self._evaluations(and_(DesignRow.job_id == job_id, DesignRow.id.in_(members)))

    def hypervolumes(self, job_id: str) -> list[float]:
        """Return the hypervolume after each finished generation."""
        return [row.hypervolume for row in self.generations(job_id)]

    def generations(self, job_id: str) -> list[GenerationSummary]:
        """Return the finished generations in order."""
        rows = self._connection.execute(
            _GENERATIONS.where(GenerationRow.job_id == job_id).order_by(GenerationRow.number)
        )
        return [GenerationSummary(**row._asdict()) for row in rows]

    def counts(self, job_id: str) -> Counts:
        """Return how far a job is."""
        sums = self._connection.execute(_SUMS.where(GenerationRow.job_id == job_id)).one()
        stays = select(func.count()).where(FrontRow.job_id == job_id, FrontRow.dropped.is_(None))
        return Counts(**sums._asdict(), front=self._connection.scalar(stays) or 0)

    def events(self, job_id: str, *, after: int = 0, limit: int | None = None) -> list[Event]:
        """Return the events behind number `after`, in order, up to `limit` of them."""
        rows = self._connection.execute(
            _EVENTS.where(EventRow.job_id == job_id, EventRow.seq > after)
            .order_by(EventRow.seq)
            .limit(limit)
        )
        return [Event(**row._asdict()) for row in rows]

    def _evaluations(self, which: ColumnElement[bool]) -> list[Evaluation]:
        figures = self._figures(which)
        designs = self._connection.execute(_DESIGNS.where(which).order_by(*_DESIGN_ORDER))
        return [_evaluation(row, figures.get(row.id, {})) for row in designs]

    def _figures(self, which: ColumnElement[bool]) -> dict[int, dict[str, float]]:
        figures: dict[int, dict[str, float]] = {}
        # Sorted here, since how a database sorts names depends on its locale.
        for design_id, name, value in sorted(self._connection.execute(_METRICS.where(which))):
            figures.setdefault(design_id, {})[name] = value
        return figures


_GENERATIONS = select(
    *(GenerationRow.__table__.c[name] for name in GenerationSummary.__dataclass_fields__)
)
_SUMS = select(
    func.count().label("generations"),
    *(
        func.coalesce(func.sum(GenerationRow.__table__.c[name]), 0).label(name)
        for name in ("designs", "measured", "cached", "screened", "failed")
    ),
)
_EVENTS = select(*(EventRow.__table__.c[name] for name in Event.__dataclass_fields__))
_DESIGNS = select(*DesignRow.__table__.columns)
_DESIGN_ORDER = (DesignRow.generation, DesignRow.position)
_METRICS = select(MetricRow.design_id, MetricRow.name, MetricRow.value).join(
    DesignRow, DesignRow.id == MetricRow.design_id
)
_concluded = DesignRow.feasible.is_not(None)


def _evaluation(row: Any, metrics: dict[str, float]) -> Evaluation:  # rows have no static type
    return Evaluation(
        design=Design(row.choices),
        metrics=metrics,
        feasible=row.feasible,
        violation=row.violation,
        origin=row.origin,
        base_error=row.base_error,
        beacon=_reading(row),
        reason=row.reason,
        generation=row.generation,
        position=row.position,
        key=row.evaluation_key,
        label=row.label,
    )


def _reading(row: Any) -> BeaconReading | None:  # rows have no static type
    if row.beacon is None:
        return None
    return BeaconReading(number=row.beacon, distance=row.beacon_distance, error=row.beacon_error)
