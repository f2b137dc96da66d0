"""Cancel, pause, resume and extend on a running service: at once, and without a trace."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.faults import results, spec
from benchmarks.service import PATIENCE_S, Service, environment
from dse.client import Client, Job, JobState

pytestmark = pytest.mark.slow

_AT_ONCE_S = 5.0


@pytest.fixture
def service(service_home: Path) -> Iterator[Service]:
    with Service(environment(service_home)) as started:
        started.wait_until_ready()
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as opened:
        yield opened


def test_a_paused_cancelled_and_resumed_job_ends_as_an_undisturbed_one(
    client: Client, service: Service, undisturbed_job: dict[str, Any]
) -> None:
    job = client.submit(spec(1))
    for count, act, state in (
        (20, Job.pause, JobState.PAUSED),
        (60, Job.cancel, JobState.CANCELLED),
    ):
        _wait(job, lambda now, count=count: now.networks_run >= count)
        act(job)
        _wait(job, lambda now, state=state: now.state == state, within_s=_AT_ONCE_S)
        assert service.members()["evaluation"] == []
        assert act(job).state == state
        job.resume()

    document = job.wait(PATIENCE_S, progress=False).document()

    assert results(document) == undisturbed_job


def test_cancel_ends_the_training_of_a_network(client: Client, service: Service) -> None:
    long = spec(1)
    long["workload"] = {"name": "sru-phones", "params": {"sentences": 20, "steps": 100_000}}
    job = client.submit(long)
    training = (e for e in job.stream() if e.data.get("label") == "training")
    next(training)

    started = time.monotonic()
    job.cancel()
    _wait(job, lambda now: now.state == JobState.CANCELLED, within_s=_AT_ONCE_S)

    assert time.monotonic() - started < _AT_ONCE_S
    [worker] = service.members()["worker"]
    assert [c for c in worker.children() if "espeak" in " ".join(c.cmdline())] == []


def test_an_extended_job_goes_on_where_it_ended(client: Client) -> None:
    short: dict[str, Any] = spec(2)
    short["search"]["generations"] = 4
    job = client.submit(short).wait(PATIENCE_S, progress=False)
    before = job.document()

    after = job.extend(8).wait(PATIENCE_S, progress=False).document()

    assert after["evaluations"][: len(before["evaluations"])] == before["evaluations"]
    assert after["hypervolume"][:4] == before["hypervolume"]
    assert len(after["hypervolume"]) == 8


def test_what_serves_is_gone_when_the_service_is(service_home: Path) -> None:
    with Service(environment(service_home)) as service:
        service.wait_until_ready()
        with Client(service.url) as client:
            job = client.submit(spec(1))
            _wait(job, lambda now: now.networks_run >= 5)
        family = [p for found in service.members().values() for p in found]
        assert len(family) >= 3

        service.kill()

        _, alive = psutil.wait_procs(family, timeout=60.0)
        assert alive == []


def _wait(job: Job, holds: Any, *, within_s: float = PATIENCE_S) -> None:  # a predicate of a Job
    deadline = time.monotonic() + within_s
    while not holds(job.refresh()):
        assert time.monotonic() < deadline, job
        time.sleep(0.1)
