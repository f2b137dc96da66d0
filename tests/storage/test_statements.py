import pytest
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from storage.tables import Base
from storage.upserts import upserts

_DIALECTS: dict[str, type[Dialect]] = {
    "sqlite": sqlite.dialect,
    "postgresql": postgresql.dialect,
}


@pytest.mark.parametrize("name", _DIALECTS)
def test_upserts_and_tables_suit_both_databases(name: str) -> None:
    dialect = _DIALECTS[name]()
    built = upserts(name)

    for statement in (built.measurement, built.use, built.verdict, built.metric):
        assert "ON CONFLICT" in str(statement.compile(dialect=dialect))
    for table in Base.metadata.sorted_tables:
        assert table.name in str(CreateTable(table).compile(dialect=dialect))
