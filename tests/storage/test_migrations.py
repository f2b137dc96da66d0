import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text

from dse.tasks import Outcome, Status
from storage.engine import _alembic_config, make_engine, reading, upgrade
from storage.leases import claim
from storage.owners import Owner
from storage.repositories import Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import Base
from tests.storage.server import Server


@pytest.fixture
def empty(engine: Engine, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A database without tables, of the kind of `engine`."""
    if engine.dialect.name == "sqlite":
        made = make_engine(f"sqlite:///{tmp_path}/empty.db")
        yield made
        made.dispose()
        return
    server: Server = request.getfixturevalue("server")
    url = server.create(template="template1")
    made = make_engine(url)
    yield made
    made.dispose()
    server.drop(url)


def test_an_upgraded_database_has_the_tables(engine: Engine) -> None:
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, Base.metadata) == []


def test_migrations_and_tables_make_the_same_constraints(engine: Engine, empty: Engine) -> None:
    Base.metadata.create_all(empty)

    # compare_metadata looks at neither checks nor names of keys nor SQLite's options
    assert _definitions(engine) == _definitions(empty)


def test_an_upgrade_of_a_current_database_changes_nothing(engine: Engine) -> None:
    before = _definitions(engine)

    upgrade(engine)

    assert _definitions(engine) == before


def test_a_database_of_the_first_release_is_upgraded_with_its_rows(
    engine: Engine, empty: Engine
) -> None:
    _upgrade_to(empty, "0001")
    with empty.begin() as connection:
        for statement in _ROWS_OF_0001:
            connection.execute(text(statement))

    upgrade(empty)

    assert _definitions(empty) == _definitions(engine)
    lease = claim(empty, "j1", Owner.current())
    assert lease is not None, "whoever held it before the upgrade has ended"
    store = SqlRunStore(empty, lease, shared_cache=True)
    assert store.verdicts(["k1"]) == {"k1": "LOST: exit 9"}
    store.record(Outcome(key="k2", status=Status.OOM, reason="2 GiB"), split="test", choices=None)
    store.close()
    with reading(empty) as connection:
        assert Jobs(connection).get("j1").crashes == 1
        (design,) = Results(connection).evaluations("j1")
        assert (design.metrics, design.feasible) == ({"error": 12.5}, True)
        assert (design.base_error, design.beacon) == (12.5, None)
        assert [e.design for e in Results(connection).front("j1")] == [design.design]


_ROWS_OF_0001 = (
    "INSERT INTO job (id, name, workload, state, priority, spec, spec_hash, owner, owner_host, "
    "owner_pid, owner_started, attempt, crashes, lease_until, cancel_requested, pause_requested, "
    "generation, event_seq, version, created_at, updated_at) VALUES ('j1', 'n', 'toy', 'LEASED', "
    "0, '{}', 'h', 'o', 'gone', 7, 1.5, 1, 0, '2026-01-01 00:00:00.000000', false, false, 0, 1, "
    "1, '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000')",
    "INSERT INTO verdict (job_id, key, outcome, attempts, reason) "
    "VALUES ('j1', 'k1', 'LOST', 3, 'exit 9')",
    "INSERT INTO design (id, job_id, role, generation, position, hash, choices, evaluation_key, "
    "origin, feasible, violation) VALUES (1, 'j1', 'search', 0, 0, 'd', "
    """'{"w_bits": {"L0": 4}}', 'k3', 'base', true, 0.0)""",
    "INSERT INTO metric (design_id, name, value) VALUES (1, 'error', 12.5)",
    "INSERT INTO front (job_id, design_id, entered) VALUES ('j1', 1, 0)",
)


def _upgrade_to(engine: Engine, revision: str) -> None:
    config = _alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _definitions(engine: Engine) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    with reading(engine) as connection:
        sqlite = engine.dialect.name == "sqlite"
        for name, definition in connection.execute(text(_SQLITE if sqlite else _POSTGRES)):
            # Columns that were added later stand last, wherever the tables have them.
            found.setdefault(name, set()).update(_parts(definition) if sqlite else {definition})
    return {name: told for name, told in found.items() if not name.startswith("alembic")}


_SQLITE = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
_POSTGRES = """
SELECT conrelid::regclass::text, conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT table_name, concat_ws(' ', column_name, data_type, is_nullable, column_default)
FROM information_schema.columns WHERE table_schema = 'public'
"""


def _parts(sql: str) -> set[str]:
    """Cut a statement at the commas that are not within parentheses of its own."""
    opening, _, rest = sql.partition("(")
    body, _, closing = rest.rpartition(")")
    parts, depth, start = [], 0, 0
    for at, character in enumerate(body):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            parts.append(body[start:at])
            start = at + 1
    return {re.sub(r"\s+", " ", p).strip() for p in (opening, *parts, body[start:], closing)}
