import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from storage.engine import make_engine, upgrade
from storage.jobs import create_job
from storage.leases import Lease
from storage.run_store import SqlRunStore
from tests.storage.builders import spec, take


@pytest.fixture(scope="session")
def upgraded_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upgraded") / "dse.db"
    engine = make_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def url(upgraded_file: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(upgraded_file, tmp_path / 'dse.db')}"


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def job_id(engine: Engine) -> str:
    return create_job(engine, spec())


@pytest.fixture
def lease(engine: Engine, job_id: str) -> Lease:
    return take(engine, job_id)


@pytest.fixture
def store(engine: Engine, lease: Lease) -> Iterator[SqlRunStore]:
    store = SqlRunStore(engine, lease, shared_cache=True)
    yield store
    store.close()
