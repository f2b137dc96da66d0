import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from dse.errors import StoreError, StoreUnavailableError
from storage.engine import make_engine, reading, upgrade
from storage.jobs import create_job
from storage.run_store import SqlRunStore
from tests.storage.builders import spec, take


def test_connections_wait_for_writers_and_keep_foreign_keys(sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as connection:
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


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_database_in_memory_is_refused(url: str) -> None:
    with pytest.raises(StoreError, match="must be a file, as in sqlite:///FILE, got"):
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


def test_a_corrupted_file_is_named(tmp_path: Path, sqlite_url: str) -> None:
    file = tmp_path / "dse.db"
    pages = bytearray(file.read_bytes())
    pages[4096:] = b"\x55" * (len(pages) - 4096)
    file.write_bytes(pages)

    with pytest.raises(StoreError, match=r"dse.db refuses: .*malformed"):
        create_job(make_engine(sqlite_url), spec())


def test_a_database_without_write_permission_is_refused(sqlite_engine: Engine) -> None:
    with reading(sqlite_engine) as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        with pytest.raises(StoreError, match="refuses: attempt to write a readonly database"):
            connection.execute(text("DELETE FROM job"))


def test_a_lock_held_beyond_the_timeout_can_be_tried_again(
    sqlite_url: str, tmp_path: Path
) -> None:
    engine = make_engine(sqlite_url, busy_timeout_s=0.02)
    other = sqlite3.connect(tmp_path / "dse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailableError, match="dse.db refuses: database is locked"):
        create_job(engine, spec())
    other.execute("ROLLBACK")

    assert create_job(engine, spec())
    other.close()


def test_a_store_works_on_after_a_lock(sqlite_url: str, tmp_path: Path) -> None:
    engine = make_engine(sqlite_url, busy_timeout_s=0.02)
    store = SqlRunStore(engine, take(engine, create_job(engine, spec())), shared_cache=True)
    other = sqlite3.connect(tmp_path / "dse.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="database is locked"):
        store.note("first", {})
    other.execute("ROLLBACK")

    store.note("second", {})

    kinds = [kind for (kind,) in other.execute("SELECT kind FROM event ORDER BY seq")]
    other.close()
    store.close()
    assert kinds == ["job.state", "job.state", "second"]


def test_a_full_disk_is_told_and_forgotten(sqlite_engine: Engine) -> None:
    with sqlite_engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        connection.rollback()
        connection.exec_driver_sql("CREATE TABLE filler (x)")
        with pytest.raises(StoreError, match="refuses: database or disk is full"):
            connection.exec_driver_sql("INSERT INTO filler VALUES (zeroblob(1000000))")
        connection.rollback()
        connection.exec_driver_sql("PRAGMA max_page_count=1000000")

    assert create_job(sqlite_engine, spec())
