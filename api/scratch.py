"""What jobs leave half done under DSE_HOME, and when it goes."""

import time
from pathlib import Path
from shutil import rmtree
from typing import Final

from sqlalchemy import Engine, select

from evaluators.data.vault import Vault
from evaluators.registry import Places
from storage.engine import reading
from storage.tables import JobRow, JobState

GOES_ON: Final = (JobState.READY, JobState.LEASED, JobState.PAUSED)
"""States in which a job may still use what it has half done."""

_STALE_S: Final = 7 * 86_400.0


def forget(places: Places, job_id: str) -> None:
    """Remove what a job has half done."""
    rmtree(places.scratch(job_id), ignore_errors=True)


def sweep(engine: Engine, places: Places) -> None:
    """Remove what killed writers and jobs that ended without a driver have left.

    The folder may serve several databases: what this one does not know goes when it is a week old.
    """
    Vault(places.beacons).sweep()
    folders = {path.name: path for path in places.scratch("").glob("*")}
    if not folders:
        return
    query = select(JobRow.id, JobRow.state).where(JobRow.id.in_(folders))
    with reading(engine) as connection:
        states = {row.id: row.state for row in connection.execute(query)}
    for name, path in folders.items():
        if states[name] not in GOES_ON if name in states else _age_s(path) > _STALE_S:
            forget(places, name)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:  # another process was faster
        return 0.0
