import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text

from dse.errors import StoreError
from dse.ports import Status
from storage.engine import make_engine, reading, upgrade
from storage.jobs import create_job
from storage.run_store import SqlRunStore
from storage.tables import VerdictRow
from tests.storage.builders import spec


def test_connections_wait_for_writers_and_keep_foreign_keys(engine: Engine) -> None:
    with reading(engine) as connection:
        pragmas = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
        }

    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 1,
        "busy_timeout": 30_000,
        "foreign_keys": 1,
    }


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/a/b/dse.db")

    upgrade(engine)

    assert (tmp_path / "a/b/dse.db").is_file()


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://host/dse", "must be sqlite:///FILE"),
        ("dse.db", "must be sqlite:///FILE"),
        ("", "must be sqlite:///FILE"),
        ("sqlite://", "must be a file"),
        ("sqlite:///:memory:", "must be a file"),
    ],
)
def test_urls_other_than_a_sqlite_file_are_refused(url: str, told: str) -> None:
    with pytest.raises(StoreError, match=told):
        make_engine(url)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="cannot make the database's folder .*file"):
        make_engine(f"sqlite:///{tmp_path}/file/dse.db")


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / "dse.db").mkdir()

    with pytest.raises(StoreError, match="dse.db refuses: unable to open"):
        upgrade(make_engine(f"sqlite:///{tmp_path}/dse.db"))


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "dse.db").write_bytes(b"these are notes, not pages" * 100)

    with pytest.raises(StoreError, match="dse.db refuses: file is not a database"):
        upgrade(make_engine(f"sqlite:///{tmp_path}/dse.db"))


def test_a_corrupted_file_is_named(tmp_path: Path, url: str) -> None:
    file = tmp_path / "dse.db"
    pages = bytearray(file.read_bytes())
    pages[4096:] = b"\x55" * (len(pages) - 4096)
    file.write_bytes(pages)

    with pytest.raises(StoreError, match=r"dse.db refuses: .*malformed"):
        create_job(make_engine(url), spec())


def test_a_database_without_write_permission_is_refused(engine: Engine, job_id: str) -> None:
    with reading(engine) as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        with pytest.raises(StoreError, match="refuses: attempt to write a readonly database"):
            connection.execute(text("DELETE FROM job"))


def test_a_lock_held_beyond_the_timeout_is_told(
    url: str, tmp_path: Path, store: SqlRunStore
) -> None:
    other = sqlite3.connect(tmp_path / "dse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="dse.db refuses: database is locked"):
        create_job(make_engine(url, busy_timeout_s=0.02), spec())

    other.close()


def test_a_store_works_on_after_a_lock(tmp_path: Path, store: SqlRunStore) -> None:
    store._writer.connection.driver_connection.execute("PRAGMA busy_timeout=20")  # type: ignore[union-attr]
    other = sqlite3.connect(tmp_path / "dse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked"):
        store.note("first", {})
    other.execute("ROLLBACK")

    store.note("second", {})

    kinds = [kind for (kind,) in other.execute("SELECT kind FROM event ORDER BY seq")]
    other.close()
    assert kinds == ["job.state", "job.state", "second"]


def test_readers_do_not_hold_up_a_writer_and_see_one_state(engine: Engine, job_id: str) -> None:
    with reading(engine) as connection:
        before = connection.execute(text("SELECT count(*) FROM job")).scalar_one()
        create_job(engine, spec())
        after = connection.execute(text("SELECT count(*) FROM job")).scalar_one()

    assert (before, after) == (1, 1)


def test_a_refused_row_is_a_store_error(engine: Engine) -> None:
    row = {"job_id": "x", "key": "k", "outcome": Status.LOST, "attempts": 1, "reason": "?"}
    with (
        pytest.raises(StoreError, match="FOREIGN KEY constraint failed"),
        engine.begin() as connection,
    ):
        connection.execute(insert(VerdictRow).values(row))


def test_upgrades_at_once_on_an_empty_file_all_succeed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/dse.db"

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: upgrade(make_engine(url)), range(8)))

    assert create_job(make_engine(url), spec())


def test_a_schema_of_another_release_is_told_with_both_revisions(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num='9f3c'"))

    with pytest.raises(StoreError, match="revision '9f3c'; this release knows .* '0001'"):
        upgrade(engine)
