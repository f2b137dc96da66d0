"""A database that is locked, full or broken costs time, not results."""

import resource
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.faults import results, spec
from benchmarks.service import PATIENCE_S, Service, environment
from dse.client import Client, Job


@pytest.mark.slow
def test_a_locked_and_then_full_database_changes_nothing(
    service_home: Path, undisturbed_job: dict[str, Any]
) -> None:
    database = service_home / "service.db"
    service = Service(environment(service_home, database_url=f"sqlite:///{database}"))

    with service, Client(service.url, timeout=60.0) as client:
        service.wait_until_ready()
        job = client.submit(spec(1))
        _wait_for_designs(service, job, 10)
        with _locked(database):
            time.sleep(31.0)
        _wait_for_designs(service, job, 40)
        with _full(service):
            time.sleep(3.0)
        ended = service.insist(partial(job.wait, PATIENCE_S, progress=False))
        document = service.insist(ended.document)

    assert results(document) == undisturbed_job


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "dse.db").write_bytes(b"not a database" * 1000)

    said = subprocess.run(
        [sys.executable, "-m", "api.cli", "serve", "--port", "0"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert said.returncode == 1
    assert f"{tmp_path / 'dse.db'} refuses: file is not a database" in said.stderr
    assert "Traceback" not in said.stderr


def _wait_for_designs(service: Service, job: Job, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while job.networks_run < count:
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
        job = service.insist(job.refresh)


@contextmanager
def _locked(database: Path) -> Iterator[None]:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def _full(service: Service) -> Iterator[None]:
    """Let no process of the service make any file longer."""
    processes = [p for found in service.members().values() for p in found]
    _limit(processes, 4096)
    yield
    _limit(processes, resource.RLIM_INFINITY)


def _limit(processes: list[psutil.Process], size: int) -> None:
    for process in processes:
        if process.is_running():
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
