import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest
from sqlalchemy import Engine

from storage.engine import make_engine, upgrade
from storage.jobs import create_job
from storage.leases import Lease
from storage.run_store import SqlRunStore
from tests.storage.builders import spec, take
from tests.storage.server import Server, postgres_server


@pytest.fixture(scope="session")
def upgraded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upgraded") / "dse.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def sqlite_url(upgraded_file: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(upgraded_file, tmp_path / 'dse.db')}"


@pytest.fixture
def postgres_url(server: Server) -> Iterator[str]:
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    engine = make_engine(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_engine(postgres_url: str) -> Iterator[Engine]:
    engine = make_engine(postgres_url)
    yield engine
    engine.dispose()


@pytest.fixture
def job_id(engine: Engine) -> str:
    return create_job(engine, spec())


@pytest.fixture
def lease(engine: Engine, job_id: str) -> Lease:
    return take(engine, job_id)


class OpenStore(Protocol):
    def __call__(self, lease: Lease, *, shared_cache: bool = True) -> SqlRunStore: ...


@pytest.fixture
def open_store(engine: Engine) -> Iterator[OpenStore]:
    """Open stores that are closed when the test ends."""
    with ExitStack() as stack:

        def open_one(lease: Lease, *, shared_cache: bool = True) -> SqlRunStore:
            store = SqlRunStore(engine, lease, shared_cache=shared_cache)
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def store(open_store: OpenStore, lease: Lease) -> SqlRunStore:
    return open_store(lease)
