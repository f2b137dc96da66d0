from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from dse.errors import UnknownNameError
from dse.spec import spec_from_data
from storage.engine import reading
from storage.jobs import create_job, find_unfinished
from storage.leases import release
from storage.repositories import Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import JobState
from tests.storage.builders import run_generation, spec, take


def test_a_job_keeps_its_spec_and_begins_ready(engine: Engine) -> None:
    job_id = create_job(engine, spec())

    with reading(engine) as connection:
        job = Jobs(connection).get(job_id)
        (event,) = Results(connection).events(job_id)
    assert spec_from_data(job.spec) == spec()
    assert (job.name, job.workload, job.spec_hash) == ("tiny", "toy", spec().digest())
    assert (job.state, job.attempt, job.generation) == (JobState.READY, 0, -1)
    assert (event.seq, event.kind) == (1, "job.state")
    assert event.data == {"state": "READY", "attempt": 0}


def test_times_carry_utc(engine: Engine, job_id: str) -> None:
    with reading(engine) as connection:
        created_at = Jobs(connection).get(job_id).created_at

    assert created_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - created_at) < timedelta(minutes=1)


def test_jobs_are_listed_youngest_first_and_by_state(engine: Engine) -> None:
    ids = [create_job(engine, spec(seed)) for seed in range(3)]
    release(engine, take(engine, ids[1]), JobState.FAILED, error="no data")

    with reading(engine) as connection:
        jobs = Jobs(connection)
        assert {job.id for job in jobs.all()} == set(ids)
        assert [job.id for job in jobs.all()] == sorted(ids, reverse=True)
        assert [job.error for job in jobs.all(state=JobState.FAILED)] == ["no data"]


def test_an_unknown_job_is_refused_with_the_known_ones(engine: Engine, job_id: str) -> None:
    with (
        reading(engine) as connection,
        pytest.raises(UnknownNameError, match=f"unknown job 'x'; allowed: {job_id}"),
    ):
        Jobs(connection).get("x")


def test_unfinished_jobs_are_found_by_spec_furthest_first(engine: Engine) -> None:
    first, second, done = (create_job(engine, spec()) for _ in range(3))
    create_job(engine, spec(seed=2))
    store = SqlRunStore(engine, take(engine, second), shared_cache=True)
    run_generation(store, 0, [1], [1])
    store.close()
    release(engine, take(engine, done), JobState.SUCCEEDED)

    assert find_unfinished(engine, spec().digest()) == [second, first]
    assert find_unfinished(engine, spec().digest(), states=(JobState.SUCCEEDED,)) == [done]
    assert find_unfinished(engine, "other") == []
