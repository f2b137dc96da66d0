from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from storage.engine import make_engine, reading, upgrade
from storage.tables import Base


def test_an_upgraded_database_has_the_tables(engine: Engine) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, Base.metadata) == []


def test_migrations_and_tables_make_the_same_constraints(engine: Engine, tmp_path: Path) -> None:
    created = make_engine(f"sqlite:///{tmp_path}/created.db")
    Base.metadata.create_all(created)

    # compare_metadata looks at neither checks nor names of keys nor SQLite's options
    assert _definitions(engine) == _definitions(created)


def test_an_upgrade_of_a_current_database_changes_nothing(engine: Engine) -> None:
    before = _definitions(engine)

    upgrade(engine)

    assert _definitions(engine) == before


def _definitions(engine: Engine) -> dict[str, set[str]]:
    with reading(engine) as connection:
        rows = connection.execute(
            text("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%'")
        )
        return {
            name: {line.strip(" ,\t") for line in sql.splitlines() if line.strip()}
            for name, sql in rows
            if sql
        }
