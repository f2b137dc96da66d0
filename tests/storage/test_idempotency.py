from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, select, update

from dse.errors import SpecError
from storage.control import delete_job, request_cancel
from storage.engine import reading
from storage.jobs import Idempotency, clone_job, create_job
from storage.repositories import Jobs
from storage.tables import IdempotencyRow
from tests.storage.builders import spec

_KEY = Idempotency(key="k", body_hash="h", principal="ada")


def test_a_repeated_request_makes_one_job(engine: Engine) -> None:
    first = create_job(engine, spec(), idempotency_key=_KEY)
    again = create_job(engine, spec(), idempotency_key=_KEY)

    assert first == again
    assert _jobs(engine) == [first]


def test_requests_at_the_same_time_make_one_job(engine: Engine) -> None:
    with ThreadPoolExecutor(6) as threads:
        ids = set(
            threads.map(lambda _: create_job(engine, spec(), idempotency_key=_KEY), range(6))
        )

    assert _jobs(engine) == list(ids)


def test_a_key_stands_for_one_request_of_one_client(engine: Engine) -> None:
    first = create_job(engine, spec(), idempotency_key=_KEY)

    with pytest.raises(SpecError, match="'k' stands for another request"):
        create_job(engine, spec(2), idempotency_key=replace(_KEY, body_hash="g"))
    other = create_job(engine, spec(2), idempotency_key=replace(_KEY, principal="bob"))

    assert sorted(_jobs(engine)) == sorted([first, other])


def test_a_key_lives_for_a_day(engine: Engine) -> None:
    first = create_job(engine, spec(), idempotency_key=_KEY)
    _age(engine, hours=23)
    assert create_job(engine, spec(), idempotency_key=_KEY) == first

    _age(engine, hours=25)

    assert create_job(engine, spec(), idempotency_key=_KEY) != first
    with reading(engine) as connection:
        assert len(connection.execute(select(IdempotencyRow.key)).all()) == 1


def test_a_key_dies_with_its_job(engine: Engine) -> None:
    first = create_job(engine, spec(), idempotency_key=_KEY)
    request_cancel(engine, first)
    delete_job(engine, first)

    assert create_job(engine, spec(), idempotency_key=_KEY) != first


def test_clones_are_made_once_too(engine: Engine, job_id: str) -> None:
    clones = {clone_job(engine, job_id, idempotency_key=_KEY).id for _ in range(2)}

    assert len(clones) == 1
    assert len(_jobs(engine)) == 2


def _jobs(engine: Engine) -> list[str]:
    with reading(engine) as connection:
        return [job.id for job in Jobs(connection).all()]


def _age(engine: Engine, *, hours: float) -> None:
    with engine.begin() as connection:
        at = datetime.now(UTC) - timedelta(hours=hours)
        connection.execute(update(IdempotencyRow).values(created_at=at))
