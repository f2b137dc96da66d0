"""Jobs come into being here, and unfinished ones are found again."""

import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select

from dse.errors import SpecError
from dse.spec import JobSpec, spec_from_data
from storage import events
from storage.engine import reading
from storage.repositories import Job, Jobs
from storage.tables import IdempotencyRow, JobRow, JobState
from storage.text import storable
from storage.upserts import upserts

UNFINISHED = (JobState.READY, JobState.LEASED, JobState.PAUSED)
KEY_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """A client's name for a request that it may send more than once.

    Attributes:
        key: chosen by the client.
        body_hash: of what it asks for; a key stands for one request.
        principal: the client; keys of different clients are different.
    """

    key: str
    body_hash: str
    principal: str = ""


def create_job(
    engine: Engine, spec: JobSpec, *, idempotency_key: Idempotency | None = None
) -> str:
    """Store a READY job and return its id; ids sort by time of creation.

    The same key within 24 hours returns the job that it made before.

    Raises:
        SpecError: the key was used for another request.
    """
    return _create(engine, spec, idempotency_key, {})


def clone_job(engine: Engine, job_id: str, *, idempotency_key: Idempotency | None = None) -> Job:
    """Store a READY job with the spec of another.

    Raises:
        UnknownNameError: no such job.
        SpecError: the key was used for another request.
    """
    with reading(engine) as connection:
        spec = spec_from_data(Jobs(connection).get(job_id).spec)
    clone = _create(engine, spec, idempotency_key, {"cloned_from": job_id})
    with reading(engine) as connection:
        return Jobs(connection).get(clone)


def find_unfinished(
    engine: Engine, spec_hash: str, *, states: tuple[JobState, ...] = UNFINISHED
) -> list[str]:
    """Return the jobs of that spec in one of `states`, the furthest advanced first.

    Whether a LEASED one can be had, only `storage.leases.claim` can tell.
    """
    found = (
        select(JobRow.id)
        .where(JobRow.spec_hash == spec_hash, JobRow.state.in_(states))
        .order_by(JobRow.generation.desc(), JobRow.id)
    )
    with reading(engine) as connection:
        return list(connection.scalars(found))


def _create(
    engine: Engine, spec: JobSpec, key: Idempotency | None, said: dict[str, object]
) -> str:
    if key is None:
        with engine.begin() as connection:
            return _insert(connection, spec, said)
    while True:
        with engine.connect() as connection, connection.begin() as transaction:
            made = _made_before(connection, key)
            if made is not None:
                return made
            job_id = _insert(connection, spec, said)
            if _note(connection, key, job_id):
                return job_id
            # The same request came at the same time and was faster: its job is the one.
            transaction.rollback()


def _insert(connection: Connection, spec: JobSpec, said: dict[str, object]) -> str:
    job_id, at = _new_id(), datetime.now(UTC)
    values = {
        "id": job_id,
        "name": storable(spec.name),
        "workload": storable(spec.workload.name),
        "state": JobState.READY,
        "priority": spec.priority,
        "spec": spec.model_dump(mode="json"),
        "spec_hash": spec.digest(),
        "attempt": 0,
        "crashes": 0,
        "cancel_requested": False,
        "pause_requested": False,
        "generation": -1,
        "event_seq": 1,
        "version": 1,
        "created_at": at,
        "updated_at": at,
    }
    connection.execute(insert(JobRow), values)
    data = {"state": JobState.READY, "attempt": 0, **said}
    kind = events.EventKind.JOB_STATE
    events.append(connection, job_id=job_id, seq=1, kind=kind, data=data)
    return job_id


def _made_before(connection: Connection, key: Idempotency) -> str | None:
    expired = IdempotencyRow.created_at < datetime.now(UTC) - KEY_LIFETIME
    connection.execute(delete(IdempotencyRow).where(expired))
    found = connection.execute(
        select(IdempotencyRow.body_hash, IdempotencyRow.job_id).where(
            IdempotencyRow.principal == key.principal, IdempotencyRow.key == key.key
        )
    ).one_or_none()
    if found is None:
        return None
    if found.body_hash != key.body_hash:
        raise SpecError(
            f"idempotency key {key.key!r} stands for another request, made within the last "
            "24 hours: send the same body, or another key"
        )
    return str(found.job_id)


def _note(connection: Connection, key: Idempotency, job_id: str) -> bool:
    values = {
        "principal": key.principal,
        "key": key.key,
        "body_hash": key.body_hash,
        "job_id": job_id,
        "created_at": datetime.now(UTC),
    }
    statement = upserts(connection.dialect.name).idempotency
    return connection.execute(statement, values).rowcount == 1


def _new_id() -> str:
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
