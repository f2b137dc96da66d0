"""MOHAQ's experiments (arXiv 2108.01192) on this project's own networks and searches.

(a) error against memory; (b) SiLago, three objectives; (c) BitFusion by post-training quantization
alone; (d) BitFusion with beacons; (r) the same with beacons of one step, which have fitted input
ranges but hardly other weights; and (c) again by other algorithms. Population 40, offspring 10,
630 designs, no seed designs, error at most 20 points above the float network's.

    python -m benchmarks.mohaq --quick                       # one seed of (c) and (d)
    python -m benchmarks.mohaq --report docs/experiments/mohaq.md --json mohaq.json

Every job and evaluation is kept in DSE_HOME (or --home): run it again after an interruption and it
goes on. Searches share evaluations, so their times tell nothing: --apart gives each a database of
its own, for times alone. `sru-digits` needs DSE_FSDD and is left out without it.
"""

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, func, select

from api import bootstrap
from api.console import Bars
from api.documents import Document
from api.driving import network_of
from api.settings import Settings, read_settings
from dse.ports import silent
from dse.spec import JobSpec, spec_from_data
from evaluators.registry import make_workload
from storage.engine import reading
from storage.tables import GenerationRow, JobRow, JobState

COMPRESSION = 10.6  # MOHAQ's 2 MiB of 21.2: (c) and (d) must at least reach it
ALGORITHMS = ("random", "optuna-tpe", "optuna-nsga2", "optuna-gp")
WORKLOADS = ("sru-phones", "sru-digits")
WORST_ERROR = {"sru-phones": 40.0, "sru-digits": 30.0}

# Counting activations tells 2-bit inputs, where retraining gains most, from 4-bit ones. The gate
# keeps random early designs from using up the beacons; the spacing lets the population move on to
# faster designs before the next are made, and of all that came up meanwhile the fastest are taken:
# it is there that designs are feasible on retrained weights only. Two at once keep two cores busy.
BEACONS: dict[str, Any] = {
    "enabled": True,
    "distance": 3,
    "knob_weights": {"w_bits": 1, "a_bits": 1},
    "window": [3, 80],
    "gates": {"speedup": {"min": 30}},
    "max_beacons": 6,
    "spacing": 10,
    "at_once": 2,
    "prefer": "speedup",
}


_CLAIMS = ("c", "d", "r")
_OTHERS = 0.01  # of a search's evaluations that may be others', if its time is to count
_BEACONS_OF: Mapping[str, dict[str, Any]] = {"d": BEACONS, "r": {**BEACONS, "steps": 1}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A search of the study.

    Attributes:
        part: "a", "b", "c", "d", "r", or an algorithm's name: (c) by that algorithm.
    """

    part: str
    workload: str
    seed: int

    @property
    def name(self) -> str:
        return f"mohaq {self.part} {self.workload} seed {self.seed}"

    def spec(self, settings: Settings) -> JobSpec:
        """Return the job."""
        return spec_from_data(
            {
                "name": self.name,
                "workload": {"name": self.workload},
                "search": {
                    "algorithm": self.part if self.part in ALGORITHMS else "nsga2",
                    "population": 40,
                    "offspring": 10,
                    "generations": 60,
                    "seed": self.seed,
                    "baselines": ["uniform", "greedy"],
                    "seed_designs": [],
                },
                **self._problem(settings),
            }
        )

    def _problem(self, settings: Settings) -> dict[str, Any]:
        limit = {"metric": "error", "max_increase": 20.0}
        worst = WORST_ERROR[self.workload]
        if self.part == "a":
            return {
                "platforms": [{"name": "bitfusion"}],
                "knobs": _knobs([2, 4, 8, 16]),
                "objectives": ["error", "memory_mib"],
                "constraints": [limit],
                "reference_point": {"error": worst, "memory_mib": float_mib(settings, self)},
            }
        if self.part == "b":
            most = float_mib(settings, self) * 6 / 21.2  # MOHAQ's 6 MiB of 21.2
            return {
                "platforms": [{"name": "silago"}],
                "knobs": [{"knob": k, "choices": [4, 8, 16]} for k in ("w_bits", "a_bits")],
                "objectives": ["error", "speedup", "energy_uj"],
                "constraints": [limit, {"metric": "memory_mib", "max": most}],
                "reference_point": {"error": worst, "speedup": 0.9, "energy_uj": 2.0},
            }
        return {
            "platforms": [{"name": "bitfusion"}],
            "knobs": _knobs([2, 4, 8, 16]),
            "objectives": ["error", "speedup"],
            "constraints": [
                limit,
                {"metric": "memory_mib", "max": float_mib(settings, self) / COMPRESSION},
            ],
            "reference_point": {"error": worst, "speedup": 1.0},
            "beacons": _BEACONS_OF.get(self.part, {"enabled": False}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A finished run.

    Attributes:
        seconds: since the job's creation, when each generation ended; empty if the job was
            interrupted, since nobody knows for how long, or was given evaluations of others.
    """

    run: Run
    document: Document
    seconds: list[float]
    float_mib: float


def float_mib(settings: Settings, run: Run) -> float:
    """Return the size of the network in float32, MiB."""
    shape = make_workload(run.workload, {}, settings.places).shape
    return (shape.weights + shape.vector_parameters) * 4 / 2**20


def carry_out(run: Run, settings: Settings) -> Found:
    """Return a run's results, searching if need be."""
    spec = run.spec(settings)
    with bootstrap.database(settings) as engine:
        job = _finished(engine, spec)
    if job is None:
        with Bars() as bars:
            job = bootstrap.run_job(spec, settings, processes=None, progress=bars)
    with bootstrap.database(settings) as engine:
        seconds = _times(engine, job)
    document = bootstrap.document(settings, job)
    return Found(run=run, document=document, seconds=seconds, float_mib=float_mib(settings, run))


def plan(parts: Sequence[str], workloads: Sequence[str], seeds: Sequence[int]) -> Iterator[Run]:
    """Yield the runs, those first that the project's claims rest on."""
    claims = [part for part in parts if part in _CLAIMS]
    for seed in seeds:
        for workload in workloads:
            for part in claims:
                yield Run(part=part, workload=workload, seed=seed)
    for part in [part for part in parts if part not in claims]:
        for seed in seeds:
            for workload in workloads:
                yield Run(part=part, workload=workload, seed=seed)


def _apart(run: Run, settings: Settings) -> Settings:
    folder = settings.home / "apart"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{run.name.replace(' ', '-')}.db"
    return replace(settings, database_url=f"sqlite:///{quote(str(file))}")


def _knobs(bits: list[int]) -> list[dict[str, Any]]:
    return [
        {"knob": "w_bits", "choices": bits},
        {"knob": "a_bits", "choices": bits},
        {"knob": "a_bits", "layers": "FC", "choices": bits[1:]},
    ]


def _finished(engine: Engine, spec: JobSpec) -> str | None:
    query = (
        select(JobRow.id)
        .where(JobRow.name == spec.name, JobRow.spec_hash == spec.digest())
        .where(JobRow.state == JobState.SUCCEEDED)
        .order_by(JobRow.id)
    )
    with reading(engine) as connection:
        return connection.execute(query).scalars().first()


def _times(engine: Engine, job: str) -> list[float]:
    ended = (
        select(GenerationRow.finished_at)
        .where(GenerationRow.job_id == job)
        .order_by(GenerationRow.number)
    )
    job_row = select(JobRow.created_at, JobRow.attempt).where(JobRow.id == job)
    counts = select(func.sum(GenerationRow.measured), func.sum(GenerationRow.cached))
    with reading(engine) as connection:
        begun, attempt = connection.execute(job_row).one()
        measured, cached = connection.execute(counts.where(GenerationRow.job_id == job)).one()
        if attempt > 1 or cached > _OTHERS * measured:
            return []
        return [(at - begun).total_seconds() for at in connection.execute(ended).scalars()]


def main() -> None:
    from benchmarks.mohaq_report import figures, report

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one seed of (c) and (d), sru-phones")
    parser.add_argument("--home", type=Path, help="instead of DSE_HOME")
    parts = ("d", "c", "r", "b", "a", *ALGORITHMS)
    parser.add_argument("--parts", nargs="+", default=list(parts), choices=parts)
    parser.add_argument("--workloads", nargs="+", default=list(WORKLOADS), choices=WORKLOADS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--apart", action="store_true", help="a database for each search")
    parser.add_argument("--report", type=Path, help="write the tables as Markdown")
    parser.add_argument("--json", type=Path, help="write every figure of the tables")
    given = parser.parse_args()
    environment: Mapping[str, str] = dict(os.environ) | (
        {"DSE_HOME": str(given.home)} if given.home else {}
    )
    settings = read_settings(environment)
    if given.quick:
        given.parts, given.workloads, given.seeds = ["d", "c"], ["sru-phones"], [1]
    if "sru-digits" in given.workloads and "fsdd" not in settings.folders:
        given.workloads = [w for w in given.workloads if w != "sru-digits"]
        print("sru-digits is left out: DSE_FSDD is not set")
    if not given.workloads:
        parser.error("no workload is left to search")
    for workload in given.workloads:  # training is no part of any search's time
        network_of(make_workload(workload, {}, settings.places)).prepare(silent)
    found = []
    for run in plan(given.parts, given.workloads, given.seeds):
        print(run.name, flush=True)
        found.append(carry_out(run, _apart(run, settings) if given.apart else settings))
    text = report(found)
    print(text)
    if given.report:
        given.report.write_text(text)
    if given.json:
        given.json.write_text(json.dumps(figures(found), indent=1))


if __name__ == "__main__":
    main()
