"""The database: connections, transactions and the schema's revision."""

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.engine import make_url as parse_url
from sqlalchemy.exc import ArgumentError

from dse.errors import StoreError

BUSY_TIMEOUT_S = 30.0


def make_engine(url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Open the database at `url`, creating its file and folder where missing.

    Every transaction of the engine takes the write lock at its start; `reading` opens one that
    does not. Whatever the database refuses is raised as StoreError.

    Args:
        url: "sqlite:///FILE".
        busy_timeout_s: seconds to wait for another writer.

    Raises:
        StoreError: another kind of URL, or a folder that cannot be made.
    """
    parsed = _sqlite_url(url)
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    engine = create_engine(parsed, json_serializer=encoder.encode)
    busy_ms = round(busy_timeout_s * 1000)

    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        try:
            _set_pragmas(connection, busy_ms)
        except sqlite3.Error as error:
            raise _refusal(engine, error) from error

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
            raise _refusal(engine, error) from error

    def translate(context: ExceptionContext) -> BaseException | None:
        if isinstance(context.original_exception, sqlite3.Error):
            return _refusal(engine, context.original_exception)
        return None

    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    event.listen(engine, "handle_error", translate, retval=True)
    return engine


def _sqlite_url(url: str) -> URL:
    try:
        parsed = parse_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise StoreError(f"the database URL must be sqlite:///FILE, got {url!r}")
    if parsed.database in (None, "", ":memory:"):
        raise StoreError(f"the database must be a file, as in sqlite:///FILE, got {url!r}")
    folder = Path(str(parsed.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the database's folder {folder}: {error}") from error
    return parsed


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


def _refusal(engine: Engine, error: BaseException) -> StoreError:
    return StoreError(f"the database {engine.url.database} refuses: {error}")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads: it sees one state and holds up no writer."""
    with engine.execution_options(deferred=True).begin() as connection:
        yield connection


def upgrade(engine: Engine) -> None:
    """Bring the schema to this release's revision; any number of processes may do so at once.

    Raises:
        StoreError: the schema belongs to another release, or the file is no database.
    """
    config = _alembic_config()
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    # The write lock is taken first, so that a second process waits here and then finds the work
    # done.
    with engine.begin() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if found == head:
            return
        known = {script.revision for script in scripts.walk_revisions()}
        if found is not None and found not in known:
            raise StoreError(
                f"the database {engine.url.database} has schema revision {found!r}; "
                f"this release knows revisions up to {head!r}: use the release that wrote it"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
