"""The database: transactions and the schema's revision, on SQLite or Postgres."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import make_url as parse_url
from sqlalchemy.exc import ArgumentError

from dse.errors import StoreError
from storage import postgres, sqlite
from storage.refusals import described, without_password

BUSY_TIMEOUT_S = 30.0


def make_engine(url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> Engine:
    """Open the database at `url`; SQLite's file and folder are created where missing.

    On SQLite every transaction takes the write lock at its start. `reading` opens one that only
    reads. Whatever the database refuses is raised as StoreError, and as StoreUnavailableError
    where trying again may help.

    Args:
        url: "sqlite:///FILE", or "postgresql://USER:PASSWORD@HOST/DATABASE".
        busy_timeout_s: seconds to wait for another writer's lock.

    Raises:
        StoreError: another kind of URL, or a folder that cannot be made.
    """
    shown = without_password(url)
    try:
        parsed = parse_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        parsed = None
    if parsed is not None and parsed.drivername in sqlite.DRIVERS:
        return sqlite.open_engine(parsed, shown=shown, busy_timeout_s=busy_timeout_s)
    if parsed is not None and parsed.drivername in postgres.DRIVERS:
        return postgres.open_engine(parsed, lock_timeout_s=busy_timeout_s)
    raise StoreError(
        "the database URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE, "
        f"got {shown!r}"
    )


def connect_reading(engine: Engine) -> Connection:
    """Open a connection whose transactions only read: each sees one state of the database and
    holds up no writer."""
    options = sqlite.READING if engine.dialect.name == "sqlite" else postgres.READING
    return engine.connect().execution_options(**options)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a transaction that only reads: it sees one state and holds up no writer."""
    with connect_reading(engine) as connection, connection.begin():
        yield connection


def upgrade(engine: Engine) -> None:
    """Bring the schema to this release's revision; any number of processes may do so at once.

    Raises:
        StoreError: the schema belongs to another release, or the file is no database.
    """
    config = _alembic_config()
    scripts = ScriptDirectory.from_config(config)
    head = scripts.get_current_head()
    with engine.begin() as connection:
        # A second process waits here, or on SQLite where it began, and then finds the work done.
        if engine.dialect.name == "postgresql":
            postgres.lock_schema(connection)
        found = MigrationContext.configure(connection).get_current_revision()
        if found == head:
            return
        known = {script.revision for script in scripts.walk_revisions()}
        if found is not None and found not in known:
            raise StoreError(
                f"{described(engine.url)} has schema revision {found!r}; "
                f"this release knows revisions up to {head!r}: use the release that wrote it"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _alembic_config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
