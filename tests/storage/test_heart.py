import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.pool import QueuePool

from storage.control import request_cancel, request_pause, resume_job
from storage.engine import make_engine, reading
from storage.heart import Heart
from storage.jobs import create_job
from storage.leases import Lease, claim, release
from storage.losses import sweep
from storage.owners import Owner
from storage.tables import JobRow, JobState
from tests.storage.builders import far, run_out, spec, take
from tests.storage.server import break_connections

_SOON_S = 5.0


def _until(fact: Callable[[], bool]) -> bool:
    end = time.monotonic() + _SOON_S
    while not fact() and time.monotonic() < end:
        time.sleep(0.01)
    return fact()


def _hearts() -> int:
    return sum(thread.name == "heart" for thread in threading.enumerate())


def _lease(engine: Engine, job_id: str, length_s: float) -> Lease:
    lease = claim(engine, job_id, far(), length_s=length_s)
    assert lease is not None
    return lease


def test_a_beating_heart_keeps_the_job(engine: Engine, job_id: str) -> None:
    with Heart(engine, _lease(engine, job_id, 0.6)) as heart:
        end = time.monotonic() + 0.9
        while time.monotonic() < end:
            assert sweep(engine) == []
            time.sleep(0.05)
        assert not heart.lost()


def test_a_closed_heart_leaves_neither_thread_nor_connection(engine: Engine, job_id: str) -> None:
    pool = engine.pool
    assert isinstance(pool, QueuePool)
    heart = Heart(engine, _lease(engine, job_id, 0.4))
    assert _until(lambda: pool.checkedout() == 2)

    heart.close()
    heart.close()

    assert (_hearts(), pool.checkedout()) == (0, 0)
    assert not heart.lost()


@pytest.mark.parametrize("how", ["taken over", "released", "swept"])
def test_a_heart_that_is_fenced_out_tells(engine: Engine, job_id: str, how: str) -> None:
    lease = _lease(engine, job_id, 1.2)
    with Heart(engine, lease) as heart:
        if how == "released":
            release(engine, lease, JobState.PAUSED)
        else:
            run_out(engine, job_id)
            sweep(engine)
            if how == "taken over":
                take(engine, job_id, Owner.current())

        assert _until(heart.lost)
        assert _until(lambda: _hearts() == 0)


def test_requests_are_heard_and_can_be_withdrawn(engine: Engine, job_id: str) -> None:
    with Heart(engine, _lease(engine, job_id, 1.2)) as heart:
        assert heart.requested is None
        request_pause(engine, job_id)
        assert _until(lambda: heart.requested == "pause")
        resume_job(engine, job_id)
        assert _until(lambda: heart.requested is None)
        request_pause(engine, job_id)
        request_cancel(engine, job_id)
        assert _until(lambda: heart.requested == "cancel")


def test_a_heart_survives_a_lock_shorter_than_its_lease(sqlite_url: str, tmp_path: Path) -> None:
    engine = make_engine(sqlite_url, busy_timeout_s=0.05)
    lease = _lease(engine, create_job(engine, spec()), 2.0)
    before = _until_of(engine)
    other = sqlite3.connect(tmp_path / "dse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Heart(engine, lease) as heart:
        time.sleep(0.9)
        assert not heart.lost()
        other.execute("ROLLBACK")

        assert _until(lambda: _until_of(engine) > before)
        assert not heart.lost()
    other.close()


def test_a_heart_that_cannot_renew_for_a_lease_s_length_is_lost(
    sqlite_url: str, tmp_path: Path
) -> None:
    engine = make_engine(sqlite_url, busy_timeout_s=0.05)
    lease = _lease(engine, create_job(engine, spec()), 0.4)
    other = sqlite3.connect(tmp_path / "dse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Heart(engine, lease) as heart:
        assert _until(heart.lost)
        other.execute("ROLLBACK")
        assert heart.lost()
    other.close()


def test_a_heart_survives_broken_connections(postgres_engine: Engine) -> None:
    lease = _lease(postgres_engine, create_job(postgres_engine, spec()), 1.0)
    with Heart(postgres_engine, lease) as heart:
        time.sleep(0.4)
        break_connections(postgres_engine)
        before = _until_of(postgres_engine)

        assert _until(lambda: _until_of(postgres_engine) > before)
        assert not heart.lost()


def _until_of(engine: Engine) -> str:
    with reading(engine) as connection:
        return str(connection.execute(select(JobRow.lease_until)).scalar_one())
