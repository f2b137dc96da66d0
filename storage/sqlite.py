"""SQLite: one file for the processes of one host."""

import json
import sqlite3
import time
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext

from dse.errors import StoreError
from storage.refusals import refusal

DRIVERS = ("sqlite", "sqlite+pysqlite")
READING = {"deferred": True}
"""Execution options of a connection that only reads."""

# A disk that is full reads as FULL or, where a limit of the process says so, as IOERR.
_PASSING = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
)
# As many as the service's threads may want at once; connections to a file are cheap.
_POOL = {"pool_size": 10, "max_overflow": 90}


def open_engine(url: URL, *, shown: str, busy_timeout_s: float) -> Engine:
    """Open an SQLite file; see `storage.engine.make_engine`."""
    _make_folder(url, shown)
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    engine = create_engine(url, json_serializer=encoder.encode, **_POOL)
    busy_ms = round(busy_timeout_s * 1000)

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        try:
            _set_pragmas(connection, busy_ms)
        except sqlite3.Error as error:
            raise _refusal(url, error) from error

    def begin(connection: Connection) -> None:
        # A deferred transaction that reads and then writes after another writer fails at once
        # with SQLITE_BUSY_SNAPSHOT, whatever the busy timeout: writers lock when they begin.
        deferred = connection.get_execution_options().get("deferred", False)
        # Past SQLAlchemy's own execute, which would cost as much as the whole transaction.
        raw = connection.connection.dbapi_connection
        assert isinstance(raw, sqlite3.Connection), "the engine's driver is sqlite3"
        try:
            raw.execute("BEGIN" if deferred else "BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise _refusal(url, error) from error

    def translate(context: ExceptionContext) -> BaseException | None:
        if isinstance(context.original_exception, sqlite3.Error):
            return _refusal(url, context.original_exception)
        return None

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    event.listen(engine, "handle_error", translate, retval=True)
    return engine


def _make_folder(url: URL, shown: str) -> None:
    if url.database in (None, "", ":memory:"):
        raise StoreError(f"the database must be a file, as in sqlite:///FILE, got {shown!r}")
    folder = Path(str(url.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the database's folder {folder}: {error}") from error


def _set_pragmas(connection: sqlite3.Connection, busy_ms: int) -> None:
    # sqlite3 must not begin transactions of its own; the engine's "begin" does.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout={busy_ms}")
    _enter_wal(connection, deadline=time.monotonic() + busy_ms / 1000)
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _enter_wal(connection: sqlite3.Connection, *, deadline: float) -> None:
    # Two processes that open a fresh file at once: SQLite refuses the change of mode without
    # calling the busy handler, since waiting could deadlock.
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def _refusal(url: URL, error: sqlite3.Error) -> StoreError:
    # The low byte is the primary code; errors that the module raises by itself have none.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return refusal(url, error, transient=code in _PASSING)
