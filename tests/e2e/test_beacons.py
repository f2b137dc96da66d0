"""The example with beacons in small, and what disturbs a retraining."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.service import PATIENCE_S, Service, environment
from dse.client import Client, Job, JobState
from tests.e2e.conftest import Reference
from tests.e2e.runs import TINY, Home, pause, results, strike

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).parents[2] / "examples" / "bitfusion-beacons.yaml"
_AT_ONCE_S = 5.0


def small(**beacons: object) -> dict[str, Any]:
    """Return the example with a tiny network, which needs a wide window, and short retraining."""
    data: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    data["workload"] = TINY["workload"]
    data["constraints"] = [c for c in data["constraints"] if c["metric"] != "error"]
    data["reference_point"] = {"error": 300.0, "speedup": 1.0}
    data["search"] |= {
        "population": 10,
        "offspring": 6,
        "generations": 5,
        "baselines": ["uniform"],
    }
    data["search"]["seed_designs"] = ["uniform"]
    data["beacons"] |= {
        "window": [-1000.0, 1000.0],
        "gates": {"speedup": {"min": 8}},
        "distance": 4,
        "spacing": 1,
        "max_beacons": 2,
        "steps": 60,
    }
    data["beacons"] |= beacons
    return data


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference
) -> tuple[Home, dict[str, Any]]:
    home = Home(tmp_path_factory.mktemp("beacons") / "home")
    shutil.copytree(reference.home.folder / "cache", home.folder / "cache")
    return home, home.run(processes=1, spec=small())


def test_the_example_makes_beacons_that_serve(undisturbed: tuple[Home, dict[str, Any]]) -> None:
    home, document = undisturbed

    assert [b["state"] for b in document["beacons"]] == ["READY", "READY"]
    files = {path.name for path in (home.folder / "beacons").iterdir()}
    assert files == {f"{b['sha256']}.safetensors" for b in document["beacons"]}
    served = [e for e in document["evaluations"] if (e["origin"] or "").startswith("beacon")]
    assert len(served) >= 2
    for e in served:
        assert e["metrics"]["error"] == e["beacon"]["error"] < e["base_error"]
    assert not list(home.folder.glob("scratch/*"))


def test_killed_retrainings_change_nothing(
    undisturbed: tuple[Home, dict[str, Any]], warm_home: Callable[[str], Home]
) -> None:
    home, killed = warm_home("killed"), 0
    for seconds in (0.5, 4.0, 8.0):
        process = home.start("run", home.spec(small()), "--processes", "2")
        assert process.stderr is not None
        if any(line.startswith("retraining") for line in process.stderr):
            pause(process, seconds)
            code, _ = strike(process, signal.SIGKILL)
            killed += code == -signal.SIGKILL
        else:
            process.communicate(timeout=PATIENCE_S)
        assert home.leftovers() == []

    assert killed
    assert results(home.run(spec=small())) == results(undisturbed[1])
    assert not list(home.folder.glob("scratch/*"))
    assert not list(home.folder.rglob("*.tmp"))


@pytest.fixture
def service(warm_home: Callable[[str], Home]) -> Iterator[Service]:
    home = warm_home("served")
    with Service(environment(home.folder)) as started:
        started.wait_until_ready()
        yield started


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as opened:
        yield opened


def test_cancel_during_a_retraining_is_prompt_and_leaves_nothing(
    client: Client, service: Service
) -> None:
    job = client.submit(small(steps=1_000_000))
    told = (e.data for e in job.stream() if e.data.get("label") == "retraining")
    next(data for data in told if data["done"] > 100)
    home = service.home
    assert list(home.glob("scratch/*/*.checkpoint"))

    started = time.monotonic()
    job.cancel()
    while job.refresh().state != JobState.CANCELLED:
        assert time.monotonic() - started < _AT_ONCE_S
        time.sleep(0.1)

    assert service.members()["evaluation"] == []
    assert not list(home.glob("scratch/*"))
    assert not list(home.glob("beacons/*"))


def test_a_paused_retraining_goes_on_and_lost_weights_are_told_of(
    client: Client, service: Service, undisturbed: tuple[Home, dict[str, Any]]
) -> None:
    job = client.submit(small())
    home = service.home
    _wait(job, lambda: bool(job.beacons()))
    job.pause()
    _wait(job, lambda: job.refresh().state == JobState.PAUSED)
    made = job.beacons()
    for beacon in made:
        assert beacon.sha256 is not None
        path = home / "beacons" / f"{beacon.sha256}.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    stood = {e["hash"] for e in job.document()["evaluations"]}
    job.resume()

    document = job.wait(PATIENCE_S, progress=False).document()

    kinds = [event.kind for event in job.stream()]
    assert kinds.count("beacon.lost") == len(made)
    numbers = {beacon.number for beacon in made}
    after = [e for e in document["evaluations"] if e["hash"] not in stood]
    assert {e["beacon"]["number"] for e in after if e["beacon"]}.isdisjoint(numbers)
    lost = [b for b in document["beacons"] if b["number"] in numbers]
    assert {b["state"] for b in lost} == {"LOST"}


def _wait(job: Job, there: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    end = time.monotonic() + within_s
    while not there():
        assert time.monotonic() < end
        time.sleep(0.1)
