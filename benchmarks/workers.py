"""Four workers on one queue: each job exactly once, at the pace of four single workers.

40 short jobs whose evaluator mostly waits, on Postgres: first by four workers on one database,
then by four workers with a database and ten of the jobs each.

    python -m benchmarks.workers [--jobs 40] [--json FILE]

Seeds 0, 1, …; one thread a worker.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from torch import Tensor, nn

from api.bootstrap import RegistryCatalogue
from api.settings import read_settings
from api.worker import Worker
from benchmarks.faults import Postgres
from dse.design import Layer, NetworkShape
from dse.ports import Progress
from dse.spec import spec_from_data
from evaluators.registry import WORKLOADS, Entry, Places
from storage.engine import make_engine, reading, upgrade
from storage.jobs import create_job
from storage.tables import EventRow, JobRow, JobState

WORKERS = 4
WAIT_S = 0.1


class Waiting:
    """A layer whose measurement takes WAIT_S, nearly all of it asleep."""

    name = "waiting"
    params: Mapping[str, object] = {}
    metrics: tuple[str, ...] = ("error",)
    splits: tuple[str, ...] = ("search", "test")
    digest = "0" * 64
    shape = NetworkShape(layers=(Layer(name="L0", k=8, n=8),))

    def prepare(self, progress: Progress) -> None:
        self._inputs = torch.linspace(-1.0, 1.0, 64).reshape(8, 8)

    def model(self) -> nn.Module:
        layer = nn.Linear(8, 8, bias=False)
        nn.init.eye_(layer.weight)
        return _Through(layer)

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        return [(self._inputs,)]

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        time.sleep(WAIT_S)
        return {"error": 100.0 * float((model(self._inputs) - self._inputs).abs().mean())}


class _Through(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.L0 = layer

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.L0(inputs)
        return result


def waiting(params: Mapping[str, object], places: Places) -> Waiting:
    return Waiting()


def spec(seed: int) -> dict[str, Any]:
    return {
        "workload": {"name": "waiting"},
        "platforms": [{"name": "bitfusion"}],
        "knobs": [{"knob": knob, "choices": list(range(2, 9))} for knob in ("w_bits", "a_bits")],
        "objectives": ["error", "speedup"],
        "reference_point": {"error": 100.0, "speedup": 1.0},
        "search": {
            "population": 8,
            "offspring": 4,
            "generations": 4,
            "seed": seed,
            "baselines": [],
        },
        "evaluation": {"pool": "inline", "cache": False},
    }


def work() -> None:
    """Be a worker until the queue is empty."""
    settings = read_settings()
    engine = make_engine(settings.database_url)
    Worker(engine, settings, RegistryCatalogue(settings.places), slots=1).run(until_idle=True)


def race(urls: Sequence[str], home: Path) -> float:
    """Run a worker on each URL and return the seconds until all queues are empty."""
    command = [sys.executable, "-m", "benchmarks.workers", "--work"]
    started = time.monotonic()
    workers = [
        subprocess.Popen(
            command, env={**os.environ, "DSE_HOME": str(home), "DSE_DATABASE_URL": url}
        )
        for url in urls
    ]
    codes = [worker.wait() for worker in workers]
    assert codes == [0] * len(urls), codes
    return time.monotonic() - started


def fill(url: str, seeds: Sequence[int]) -> None:
    engine = make_engine(url)
    upgrade(engine)
    for seed in seeds:
        create_job(engine, spec_from_data(spec(seed)))
    engine.dispose()


def claims(url: str) -> dict[str, int]:
    """Return how often each finished job was claimed."""
    engine = make_engine(url)
    with reading(engine) as connection:
        done = select(JobRow.id).where(JobRow.state == JobState.SUCCEEDED)
        counts = dict.fromkeys(connection.scalars(done), 0)
        events = select(EventRow.job_id, EventRow.data).where(EventRow.kind == "job.state")
        for job_id, data in connection.execute(events):
            counts[job_id] += data["state"] == JobState.LEASED
    engine.dispose()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description="four workers on one queue")
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.work:
        work()
        return
    seeds = range(options.jobs)
    postgres = Postgres()
    try:
        shared, *own = (postgres.create(f"queue{i}") for i in range(WORKERS + 1))
        fill(shared, seeds)
        for i, url in enumerate(own):
            fill(url, seeds[i::WORKERS])
        with tempfile.TemporaryDirectory() as home:
            alone_s = race(own, Path(home))
            together_s = race([shared] * WORKERS, Path(home))
        ran = claims(shared)
    finally:
        postgres.close()
    once = sum(count == 1 for count in ran.values())
    table = Table("jobs", "run exactly once", "4 databases, s", "one queue, s", "pace")
    pace = alone_s / together_s
    table.add_row(
        str(options.jobs), str(once), f"{alone_s:.1f}", f"{together_s:.1f}", f"{pace:.0%}"
    )
    Console().print(table)
    if options.json is not None:
        told = {"jobs": options.jobs, "once": once, "alone_s": alone_s, "together_s": together_s}
        options.json.write_text(json.dumps({"benchmark": "workers", **told}, indent=2) + "\n")


WORKLOADS["waiting"] = Entry(
    name="waiting", target="benchmarks.workers:waiting", summary="waits for each measurement"
)

if __name__ == "__main__":
    main()
