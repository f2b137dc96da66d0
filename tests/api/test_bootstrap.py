import logging
import sqlite3
from contextlib import closing
from functools import partial

import pytest

from api import bootstrap
from api.settings import Settings
from dse.errors import StoreUnavailableError
from storage.engine import make_engine


@pytest.fixture(autouse=True)
def _haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "make_engine", partial(make_engine, busy_timeout_s=0.0))


def _lock(settings: Settings) -> sqlite3.Connection:
    path = settings.database_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_locked_database_is_waited_for_and_told_of_once(
    nowhere: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    with closing(_lock(nowhere)) as lock:

        def pause(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                lock.execute("ROLLBACK")

        monkeypatch.setattr("api.driving.time.sleep", pause)
        with (
            caplog.at_level(logging.WARNING),
            bootstrap.database(nowhere, patient=True) as engine,
            engine.connect() as connection,
        ):
            assert connection.exec_driver_sql("SELECT count(*) FROM job").scalar_one() == 0

    assert len(pauses) == 3
    [said] = [r.getMessage() for r in caplog.records if "waiting" in r.getMessage()]
    assert "is locked" in said


def test_commands_do_not_wait_for_a_locked_database(nowhere: Settings) -> None:
    with (
        closing(_lock(nowhere)),
        pytest.raises(StoreUnavailableError, match="is locked"),
        bootstrap.database(nowhere),
    ):
        pass
