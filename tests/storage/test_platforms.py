import pytest
from sqlalchemy import Engine

from dse.errors import DriftError, FencedOutError
from storage.engine import reading
from storage.jobs import clone_job, create_job
from storage.leases import release
from storage.platforms import keep_platforms
from storage.repositories import Jobs
from storage.tables import JobState
from tests.storage.builders import spec, take


def test_a_job_keeps_the_digests_that_it_began_with(engine: Engine) -> None:
    job_id = create_job(engine, spec())
    lease = take(engine, job_id)

    keep_platforms(engine, lease, {"mine": "a" * 64})
    keep_platforms(engine, lease, {"mine": "a" * 64})

    with pytest.raises(DriftError, match="platform 'mine' is another one than the job began"):
        keep_platforms(engine, lease, {"mine": "b" * 64})
    with pytest.raises(DriftError, match="platform 'other'"):
        keep_platforms(engine, lease, {"mine": "a" * 64, "other": "a" * 64})
    with reading(engine) as connection:
        assert Jobs(connection).get(job_id).platforms == {"mine": "a" * 64}
    assert clone_job(engine, job_id).platforms is None


def test_whoever_has_lost_the_job_keeps_nothing(engine: Engine) -> None:
    job_id = create_job(engine, spec())
    lease = take(engine, job_id)
    release(engine, lease, JobState.READY)

    with pytest.raises(FencedOutError):
        keep_platforms(engine, lease, {"mine": "a" * 64})
    with reading(engine) as connection:
        assert Jobs(connection).get(job_id).platforms is None
