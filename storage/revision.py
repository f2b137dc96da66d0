"""Whether a database has the tables of this release, without changing them."""

from functools import cache
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from dse.errors import StoreError
from storage.engine import reading
from storage.refusals import described


def require_head(engine: Engine) -> None:
    """Read the schema's revision and compare it with this release's.

    Raises:
        StoreError: the database cannot be read, or has another revision.
    """
    with reading(engine) as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    if found != _head():
        raise StoreError(
            f"{described(engine.url)} has schema revision {found!r}, this release needs "
            f"{_head()!r}: run `dse db upgrade`"
        )


@cache
def _head() -> str | None:
    return ScriptDirectory(str(Path(__file__).parent / "migrations")).get_current_head()
