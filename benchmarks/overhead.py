"""What a design costs outside its evaluation: ask, costs, SQL, tell.

A 16-gene problem (the MOHAQ SRU on BitFusion) with a trivial evaluator, 100 designs a generation,
through the real storage path on SQLite; beside it pymoo alone in memory, and Optuna's
NSGAIISampler in memory and on its SQLite storage, in the same run.

    python -m benchmarks.overhead [--generations 20] [--optuna-trials 300] [--json FILE]

Seed 1, one thread. CPU and wall time per design, median over generations (over batches of 100
trials for Optuna).
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.evaluator import Evaluator
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.problems.static import StaticProblem
from rich.console import Console
from rich.table import Table

from dse.catalogue import check
from dse.design import Choices, NetworkShape, Value, content_hash
from dse.ports import FloatArray, IntArray, Platform, Progress, Workload
from dse.search import Search
from dse.spec import JobSpec, spec_from_data
from dse.tasks import Task
from evaluators.data.vault import Vault
from evaluators.hardware.bitfusion import bitfusion
from evaluators.pools.inline import InlinePool
from evaluators.registry import Places
from evaluators.workloads.mohaq_sru import mohaq_sru
from storage.engine import make_engine, upgrade
from storage.jobs import create_job
from storage.leases import claim
from storage.owners import Owner
from storage.run_store import SqlRunStore

BATCH = 100
BITS = np.array([2, 4, 8, 16])
N_GENES = 16

Timing = tuple[float, float]
"""CPU and wall milliseconds per design."""


class Trivial:
    """The paper's network with an error that is one line of arithmetic."""

    name = "trivial"
    params: Mapping[str, object] = {}
    metrics = ("error",)
    splits = ("search", "test")
    trainable = False
    needs = None
    defaults: Mapping[str, Value] = {}

    @property
    def shape(self) -> NetworkShape:
        return mohaq_sru({}, Places(home=Path("."))).shape


class Catalogue:
    evaluator_knobs = ("w_bits", "a_bits")

    def workload(self, name: str, params: Mapping[str, object]) -> Workload:
        return Trivial()

    def platform(self, name: str, params: Mapping[str, object]) -> Platform:
        return bitfusion(params)


def spec(generations: int) -> JobSpec:
    return spec_from_data(
        {
            "workload": {"name": "trivial"},
            "platforms": [{"name": "bitfusion"}],
            "knobs": [{"knob": k, "choices": BITS.tolist()} for k in ("w_bits", "a_bits")],
            "objectives": ["error", "speedup"],
            "reference_point": {"error": 100.0, "speedup": 1.0},
            "search": {
                "population": BATCH,
                "offspring": BATCH,
                "generations": generations,
                "seed": 1,
                "baselines": [],
            },
        }
    )


def evaluate(task: Task, progress: Progress) -> dict[str, float]:
    if task.choices is None:
        return {"error": 0.0}
    bits = [int(b) for layers in task.choices.values() for b in layers.values()]
    return {"error": sum((i % 5 + 1) / b for i, b in enumerate(bits))}


def key(
    choices: Choices | None,
    arithmetic: Mapping[str, object],
    split: str,
    weights: str | None = None,
) -> str:
    told = None if choices is None else {k: dict(v) for k, v in choices.items()}
    return content_hash([told, split])


def never(
    choices: Choices,
    arithmetic: Mapping[str, object],
    *,
    steps: int,
    seed: int,
    learn_exponents: bool,
) -> str:
    raise AssertionError("nothing is retrained here")


def ours(folder: Path, generations: int) -> list[Timing]:
    """Time this project's search, generation by generation."""
    job_spec = spec(generations)
    engine = make_engine(f"sqlite:///{folder / 'ours.db'}")
    upgrade(engine)
    lease = claim(engine, create_job(engine, job_spec), Owner.current())
    assert lease is not None
    clock = Clock()

    def progress(label: str, done: int, total: int) -> None:
        if label == "searching":
            clock.lap(done)

    store = SqlRunStore(engine, lease, shared_cache=True)
    search = Search(
        check(job_spec, Catalogue()),
        pool=InlinePool(evaluate),
        store=store,
        vault=Vault(folder),
        key=key,
        retraining_key=never,
        progress=progress,
    )
    search.run()
    store.close()
    return clock.laps


def pymoo_alone(generations: int) -> list[Timing]:
    """Time pymoo's NSGA-II in ask/tell form, in memory, with the same settings."""
    problem = PymooProblem(n_var=N_GENES, n_obj=2, xl=0, xu=3, vtype=int)
    operators = {"prob": 1.0, "eta": 3.0, "vtype": float, "repair": RoundingRepair()}
    algorithm = NSGA2(
        pop_size=BATCH,
        n_offsprings=BATCH,
        sampling=IntegerRandomSampling(),
        crossover=SBX(**operators),
        mutation=PM(**operators),
    )
    algorithm.setup(problem, termination=("n_gen", generations), seed=1, verbose=False)
    clock = Clock()
    clock.lap(0)
    for generation in range(generations):
        asked = algorithm.ask()
        static = StaticProblem(problem, F=trivial_objectives(asked.get("X").astype(int)))
        Evaluator().eval(static, asked)
        algorithm.tell(infills=asked)
        clock.lap((generation + 1) * BATCH)
    return clock.laps


def optuna_study(storage: str | None, trials: int) -> list[Timing]:
    """Time Optuna's NSGAIISampler, in memory or on a storage URL."""
    sampler = optuna.samplers.NSGAIISampler(population_size=BATCH, seed=1)
    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=sampler, storage=storage
    )

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        genome = [trial.suggest_int(f"gene{i}", 0, 3) for i in range(N_GENES)]
        [(error, slowness)] = trivial_objectives(np.array([genome]))
        return float(error), float(slowness)

    clock = Clock()
    clock.lap(0)
    for batch in range(trials // BATCH):
        study.optimize(objective, n_trials=BATCH)
        clock.lap((batch + 1) * BATCH)
    return clock.laps


def trivial_objectives(genomes: IntArray) -> FloatArray:
    """Return (n, 2): the error of `evaluate` and a cost, for genomes (n, N_GENES)."""
    bits = BITS[genomes]
    errors = ((np.arange(N_GENES) % 5 + 1) / bits).sum(axis=1)
    speeds = (256 / (bits[:, :8] * bits[:, 8:])).sum(axis=1)
    return np.stack([errors, -speeds], axis=1)


class Clock:
    """Laps of CPU and wall time, in milliseconds per design of a batch."""

    def __init__(self) -> None:
        self.laps: list[Timing] = []
        self._last: Timing | None = None
        self._done = 0

    def lap(self, done: int) -> None:
        """Note the time at which `done` designs are done."""
        now = (time.process_time(), time.perf_counter())
        if self._last is not None and done > self._done:
            share = 1000 / (done - self._done)
            cpu, wall = (share * (b - a) for a, b in zip(self._last, now, strict=True))
            self.laps.append((cpu, wall))
        self._last, self._done = now, done


def main() -> None:
    parser = argparse.ArgumentParser(description="time per design outside evaluation")
    parser.add_argument("--generations", type=int, default=20)
    parser.add_argument("--optuna-trials", type=int, default=300)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/optuna.db"
        laps = {
            "beacon-dse, SQLite": ours(Path(folder), options.generations),
            "pymoo, in memory": pymoo_alone(options.generations),
            "Optuna, in memory": optuna_study(None, options.optuna_trials),
            "Optuna, SQLite": optuna_study(url, options.optuna_trials),
        }
    rows = {name: [statistics.median(c) for c in zip(*t, strict=True)] for name, t in laps.items()}
    table = Table("search", "CPU ms a design", "wall ms a design", "wall against ours")
    for name, (cpu, wall) in rows.items():
        ratio = wall / rows["beacon-dse, SQLite"][1]
        table.add_row(name, f"{cpu:.3f}", f"{wall:.3f}", f"{ratio:.2f}")
    Console().print(table)
    if options.json is not None:
        told = {
            "benchmark": "overhead",
            "seed": 1,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "ms_a_design": {n: {"cpu": c, "wall": w} for n, (c, w) in rows.items()},
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
