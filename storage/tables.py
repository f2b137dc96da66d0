"""The tables. `docs/decisions/0003-tables.md` says why they are cut this way."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from dse.ports import Role
from dse.tasks import Status


class JobState(StrEnum):
    """Where a job is in its life."""

    READY = "READY"
    LEASED = "LEASED"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    POISONED = "POISONED"


class UtcDateTime(TypeDecorator[datetime]):
    """A time with its zone, UTC; SQLite itself keeps no zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _words(enum: type[StrEnum], name: str) -> Enum:
    return Enum(
        enum,
        name=name,
        native_enum=False,
        create_constraint=True,
        length=16,
        values_callable=lambda members: [member.value for member in members],
    )


# JSON documents are never queried, only handed back, so their shape is not this room's business.
Document = Any


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {
        str: Text,
        float: Double,
        datetime: UtcDateTime,
        Document: JSON(none_as_null=True),
    }


class JobRow(Base):
    """A search job. `attempt` is the fencing token and only grows; `crashes` counts leases lost
    since the last progress; `platforms` are digests by name; `generation` is the last finished
    one, -1 before the first. `lease_until` stands in no index: Postgres then renews a lease
    without touching any."""

    __tablename__ = "job"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    workload: Mapped[str]
    state: Mapped[JobState] = mapped_column(_words(JobState, "state"))
    priority: Mapped[int]
    spec: Mapped[Document]
    spec_hash: Mapped[str] = mapped_column(index=True)
    owner: Mapped[str | None]
    owner_host: Mapped[str | None]
    owner_pid: Mapped[int | None]
    owner_boot: Mapped[str | None]
    owner_started: Mapped[float | None]
    attempt: Mapped[int]
    crashes: Mapped[int]
    lease_until: Mapped[datetime | None]
    cancel_requested: Mapped[bool]
    pause_requested: Mapped[bool]
    generation: Mapped[int]
    event_seq: Mapped[int]
    version: Mapped[int]
    float_metrics: Mapped[Document | None]
    reference_point: Mapped[Document | None]
    platforms: Mapped[Document | None]
    error: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


# Over all states, an index beginning with `state` would be taken for claims too, and sort.
_READY, _LEASED = text("state = 'READY'"), text("state = 'LEASED'")
Index(
    "ix_job_ready",
    JobRow.priority.desc(),
    JobRow.id,
    sqlite_where=_READY,
    postgresql_where=_READY,
)
Index("ix_job_leased", JobRow.id, sqlite_where=_LEASED, postgresql_where=_LEASED)


def _job_key(*, primary_key: bool = True) -> Mapped[str]:
    return mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=primary_key)


class GenerationRow(Base):
    """A finished generation and the optimizer's state after it."""

    __tablename__ = "generation"

    job_id: Mapped[str] = _job_key()
    number: Mapped[int] = mapped_column(primary_key=True)
    format_version: Mapped[int]
    state: Mapped[Document]
    hypervolume: Mapped[float]
    designs: Mapped[int]
    measured: Mapped[int]
    cached: Mapped[int]
    screened: Mapped[int]
    failed: Mapped[int]
    finished_at: Mapped[datetime]


class DesignRow(Base):
    """A design that a job proposed. `feasible` is null until its generation is concluded;
    `beacon`, its distance and the error on its weights are null if it was run on none."""

    __tablename__ = "design"
    __table_args__ = (
        UniqueConstraint("job_id", "role", "generation", "position"),
        UniqueConstraint("job_id", "role", "hash"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = _job_key(primary_key=False)
    role: Mapped[Role] = mapped_column(_words(Role, "role"))
    generation: Mapped[int]
    position: Mapped[int]
    hash: Mapped[str]
    genome: Mapped[Document | None]
    label: Mapped[str | None]
    choices: Mapped[Document]
    evaluation_key: Mapped[str]
    origin: Mapped[str | None]
    feasible: Mapped[bool | None]
    violation: Mapped[float | None]
    reason: Mapped[str | None]
    base_error: Mapped[float | None]
    beacon: Mapped[int | None]
    beacon_distance: Mapped[float | None]
    beacon_error: Mapped[float | None]


class MetricRow(Base):
    """One figure of one design."""

    __tablename__ = "metric"
    # SQLite then keeps the rows in the key's own tree: half the pages to write.
    __table_args__ = {"sqlite_with_rowid": False}

    design_id: Mapped[int] = mapped_column(
        ForeignKey("design.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


class EvaluationRow(Base):
    """A measurement, shared by all jobs; the first one stored under a key stands for good.
    `job_id` is the job that made it."""

    __tablename__ = "evaluation"
    __table_args__ = {"sqlite_with_rowid": False}

    key: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id", ondelete="SET NULL"))
    workload: Mapped[str]
    split: Mapped[str]
    design_hash: Mapped[str | None]
    metrics: Mapped[Document]
    seconds: Mapped[float]
    created_at: Mapped[datetime]


class EvaluationUseRow(Base):
    """A job that made a measurement again, which another had made before it."""

    __tablename__ = "evaluation_use"
    __table_args__ = {"sqlite_with_rowid": False}

    job_id: Mapped[str] = _job_key()
    key: Mapped[str] = mapped_column(
        ForeignKey("evaluation.key", ondelete="CASCADE"), primary_key=True
    )


class RetrainingRow(Base):
    """Weights that a retraining left in a file named by `digest`, shared by all jobs; made again,
    they replace those before. `job_id` is the job that made them last."""

    __tablename__ = "retraining"
    __table_args__ = {"sqlite_with_rowid": False}

    key: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("job.id", ondelete="SET NULL"))
    workload: Mapped[str]
    design_hash: Mapped[str]
    choices: Mapped[Document]
    steps: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    best_step: Mapped[int]
    curve: Mapped[Document]
    seconds: Mapped[float]
    created_at: Mapped[datetime]


class RetrainingUseRow(Base):
    """A job that ran a retraining itself."""

    __tablename__ = "retraining_use"
    __table_args__ = {"sqlite_with_rowid": False}

    job_id: Mapped[str] = _job_key()
    key: Mapped[str] = mapped_column(
        ForeignKey("retraining.key", ondelete="CASCADE"), primary_key=True
    )


class BeaconRow(Base):
    """A beacon of a job. Without `digest` its retraining failed; `lost`: its file could not be
    used later on. `reason` says why in both cases."""

    __tablename__ = "beacon"

    job_id: Mapped[str] = _job_key()
    number: Mapped[int] = mapped_column(primary_key=True)
    generation: Mapped[int]
    design_hash: Mapped[str]
    choices: Mapped[Document]
    key: Mapped[str]
    digest: Mapped[str | None]
    lost: Mapped[bool]
    reason: Mapped[str | None]


class VerdictRow(Base):
    """What one job could not measure or retrain; it holds for that job alone."""

    __tablename__ = "verdict"

    job_id: Mapped[str] = _job_key()
    key: Mapped[str] = mapped_column(primary_key=True)
    outcome: Mapped[Status] = mapped_column(_words(Status, "outcome"))
    attempts: Mapped[int]
    reason: Mapped[str]


class DispatchRow(Base):
    """An evaluation or retraining that a job sent out and that has no outcome yet. `attempt` is
    the lease under which it went; `deaths` counts the processes that died of it while nothing
    ran beside it."""

    __tablename__ = "dispatch"
    __table_args__ = {"sqlite_with_rowid": False}

    job_id: Mapped[str] = _job_key()
    key: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int]
    alone: Mapped[bool]
    deaths: Mapped[int]


class FrontRow(Base):
    """A stay on the front: from generation `entered` to before generation `dropped`."""

    __tablename__ = "front"
    __table_args__ = (
        CheckConstraint("dropped > entered", name="interval"),
        # Deleting a job deletes its designs, each of which looks for its stays.
        Index("ix_front_design_id", "design_id"),
    )

    job_id: Mapped[str] = _job_key()
    design_id: Mapped[int] = mapped_column(
        ForeignKey("design.id", ondelete="CASCADE"), primary_key=True
    )
    entered: Mapped[int] = mapped_column(primary_key=True)
    dropped: Mapped[int | None]


class EventRow(Base):
    """What happened to a job; numbers per job have no gap."""

    __tablename__ = "event"

    job_id: Mapped[str] = _job_key()
    seq: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    data: Mapped[Document]
    at: Mapped[datetime]


class WorkerRow(Base):
    """A process that takes jobs, for as long as it runs."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    boot: Mapped[str]
    started: Mapped[float]
    slots: Mapped[int]
    versions: Mapped[Document]
    registered_at: Mapped[datetime]
    last_seen: Mapped[datetime]


class IdempotencyRow(Base):
    """A request to make a job that may be repeated without making another."""

    __tablename__ = "idempotency"

    principal: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_hash: Mapped[str]
    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
