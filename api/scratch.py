"""What jobs leave half done under DSE_HOME, and when it goes."""

import time
from shutil import rmtree
from typing import Final

from sqlalchemy import Engine, select

from evaluators.data.vault import Vault
from evaluators.registry import Places
from storage.engine import reading
from storage.tables import JobRow, JobState

GOES_ON: Final = (JobState.READY, JobState.LEASED, JobState.PAUSED)
"""States in which a job may still use what it has half done."""

_STALE_S: Final = 3600.0


def forget(places: Places, job_id: str) -> None:
    """Remove what a job has half done."""
    rmtree(places.scratch(job_id), ignore_errors=True)


def sweep(engine: Engine, places: Places) -> None:
    """Remove what was left for an hour by killed writers and by jobs that ended without a driver.

    The folder may serve several databases: what is younger may be another's work.
    """
    Vault(places.beacons).sweep()
    folders = {path.name: path for path in places.scratch("").glob("*")}
    old = {name for name, path in folders.items() if _age_s(path.stat().st_mtime) > _STALE_S}
    if not old:
        return
    query = select(JobRow.id).where(JobRow.id.in_(old), JobRow.state.in_(GOES_ON))
    with reading(engine) as connection:
        wanted = set(connection.execute(query).scalars())
    for name in old - wanted:
        forget(places, name)


def _age_s(at: float) -> float:
    return time.time() - at
