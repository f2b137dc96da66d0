import os
import time
from pathlib import Path

import pytest
from sqlalchemy import update

from api import bootstrap, scratch
from api.settings import Settings
from storage.jobs import create_job
from storage.tables import JobRow, JobState
from tests.fakes import fake_spec


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database_url=f"sqlite:///{tmp_path / 'dse.db'}")


def leave(settings: Settings, job_id: str, *, age_s: float = 1.0) -> Path:
    folder = settings.places.scratch(job_id)
    folder.mkdir(parents=True)
    (folder / "half.checkpoint").write_bytes(b"half")
    then = time.time() - age_s
    os.utime(folder, (then, then))
    return folder


@pytest.mark.parametrize("state", list(JobState))
def test_what_is_half_done_stays_as_long_as_its_job_may_go_on(
    settings: Settings, state: JobState
) -> None:
    with bootstrap.database(settings) as engine:
        job_id = create_job(engine, fake_spec())
        with engine.begin() as connection:
            connection.execute(update(JobRow).values(state=state))
        folder = leave(settings, job_id)

        scratch.sweep(engine, settings.places)

    goes_on = state in (JobState.READY, JobState.LEASED, JobState.PAUSED)
    assert folder.exists() == goes_on


def test_what_belongs_to_no_job_goes_once_it_is_old(settings: Settings) -> None:
    old, young = leave(settings, "old", age_s=8 * 86_400.0), leave(settings, "young")
    with bootstrap.database(settings) as engine:
        scratch.sweep(engine, settings.places)

    assert not old.exists()
    assert young.exists()


def test_an_empty_home_is_swept_without_a_trace(settings: Settings) -> None:
    with bootstrap.database(settings) as engine:
        scratch.sweep(engine, settings.places)

    assert not settings.places.beacons.exists()
