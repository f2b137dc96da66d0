from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text

from dse.errors import StoreError
from dse.tasks import Status
from storage.engine import make_engine, reading, upgrade
from storage.jobs import create_job
from storage.repositories import Jobs
from storage.tables import VerdictRow
from tests.storage.builders import spec
from tests.storage.server import Server


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/empty.db"
        return
    server: Server = request.getfixturevalue("server")
    url = server.create(template="template1")
    yield url
    server.drop(url)


@pytest.mark.parametrize(
    "url",
    ["mysql://host/dse", "postgresql+asyncpg://host/dse", "dse.db", "", "postgresql://h:port/x"],
)
def test_other_urls_are_refused_with_the_allowed_ones(url: str) -> None:
    with pytest.raises(StoreError, match="must be sqlite:///FILE or postgresql://USER") as refused:
        make_engine(url)

    assert repr(url) in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me:geheim@host/dse",
        "postgresql://me:geheim@host:port/dse",
        "postgresql://me:ge@heim@host:5432x/dse",
        "mysql://host/dse?password=geheim",
    ],
)
def test_a_refused_url_does_not_show_its_password(url: str) -> None:
    with pytest.raises(StoreError) as refused:
        make_engine(url)

    assert "heim" not in str(refused.value)


def test_readers_do_not_hold_up_a_writer_and_see_one_state(engine: Engine, job_id: str) -> None:
    with reading(engine) as connection:
        before = connection.execute(text("SELECT count(*) FROM job")).scalar_one()
        create_job(engine, spec())
        after = connection.execute(text("SELECT count(*) FROM job")).scalar_one()

    assert (before, after) == (1, 1)


def test_a_refused_row_is_a_store_error(engine: Engine) -> None:
    row = {"job_id": "x", "key": "k", "outcome": Status.LOST, "attempts": 1, "reason": "?"}
    with (
        pytest.raises(StoreError, match="(?i)foreign key constraint"),
        engine.begin() as connection,
    ):
        connection.execute(insert(VerdictRow).values(row))


def test_upgrades_at_once_of_an_empty_database_all_succeed(empty_url: str) -> None:
    def upgrade_it(_: int) -> None:
        engine = make_engine(empty_url)
        upgrade(engine)
        engine.dispose()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(upgrade_it, range(6)))

    engine = make_engine(empty_url)
    with reading(engine) as connection:
        assert Jobs(connection).all() == []
    engine.dispose()


def test_a_schema_of_another_release_is_told_with_both_revisions(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num='9f3c'"))

    with pytest.raises(StoreError, match="revision '9f3c'; this release knows .* '0004'"):
        upgrade(engine)
