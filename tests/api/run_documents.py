"""Documents of runs that never happened: shapes and costs are real, errors are made up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from api.documents import Document, Json
from dse.design import Design
from dse.metrics import METRICS, TEST_PREFIX
from dse.pareto import non_dominated
from evaluators.hardware.silago import silago
from evaluators.registry import Places
from evaluators.workloads.mohaq_sru import mohaq_sru

SHAPE = mohaq_sru({}, Places(home=Path("unused"))).shape
PLATFORM = silago({})
LIMIT_MIB = 6.0


def run_document(
    *, designs: int = 60, objectives: Sequence[str] = ("error", "speedup"), name: str = "a run"
) -> Document:
    """A finished run; every seventh design was screened by its costs."""
    rng = np.random.default_rng(5)
    evaluations = [
        _evaluation(_design(rng.choice((4, 8, 16), size=8).tolist()), i) for i in range(designs)
    ]
    feasible = [item for item in evaluations if item["feasible"]]
    front = _front(feasible, objectives)
    baselines = []
    for bits in (16, 8, 4):
        baselines.append(
            _evaluation(_design([bits] * 8), 1) | {"label": f"uniform w{bits}a{bits}"}
        )
    for step in range(1, 4):
        widths = [4] * step + [8] * (8 - step)
        baselines.append(_evaluation(_design(widths), 1) | {"label": f"greedy {step}"})
    for item in (*front, *baselines):
        item["metrics"][TEST_PREFIX + "error"] = item["metrics"]["error"] + 1.5
    return {
        "job": _job(evaluations),
        "spec": _spec(objectives, name),
        "front": front,
        "baselines": baselines,
        "evaluations": evaluations,
        "hypervolume": [20 + 10 * (1 - 0.8**i) for i in range(designs // 5)],
        "beacons": [],
    }


def beacon_document(*, objectives: Sequence[str] = ("error", "speedup")) -> Document:
    """A run with three beacons, of which the second failed; its front has members from base
    weights, from the first and from the third, as have its other designs."""
    document = run_document(objectives=objectives)
    for items in (document["front"], document["evaluations"]):
        for i, item in enumerate(item for item in items if item["feasible"]):
            reading = (None, 1, 3)[i % 3]
            if reading is not None:
                error = item["metrics"]["error"]
                told = {"number": reading, "distance": 2.5, "error": error}
                item |= {"origin": f"beacon {reading}", "base_error": error + 8, "beacon": told}
    document["beacons"] = [
        _beacon(number, document["evaluations"][number]) for number in (1, 2, 3)
    ]
    failed = {name: None for name in ("sha256", "size", "steps", "seed", "best_step", "error")}
    document["beacons"][1] |= failed | {"state": "FAILED", "curve": [], "served": 0}
    document["beacons"][1] |= {"mean_gain": None, "reason": "FAILED: loss is nan at step 3"}
    document["spec"]["beacons"] = {"enabled": True}
    return document


def _beacon(number: int, item: Json) -> Json:
    errors = [30.0, 21.0 + number, 22.5]
    return {
        "number": number,
        "generation": number,
        "state": "READY",
        "hash": item["hash"],
        "design": item["design"],
        "sha256": f"{number:064x}",
        "size": 5_000_000,
        "steps": 100,
        "seed": 1,
        "best_step": 50,
        "curve": [
            {"step": 50 * i, "loss": 1.5 / i if i else None, "error": error}
            for i, error in enumerate(errors)
        ],
        "base_error": 30.0,
        "error": min(errors),
        "served": 10,
        "mean_gain": 8.0,
        "reason": None,
    }


def wide_front(members: int) -> Document:
    """A run whose front has many members."""
    document = run_document(designs=members)
    front = [_evaluation(_design(_widths(i)), 1) for i in range(members)]
    for i, item in enumerate(front):
        item |= {"hash": f"{i:064x}", "feasible": True}
        item["metrics"] |= {"error": 10 + 0.1 * i, "speedup": 1 + 0.01 * i}
    return document | {"front": front}


def _widths(number: int) -> list[int]:
    return [(4, 8, 16)[number // 3**i % 3] for i in range(8)]


def _design(widths: Sequence[int]) -> Design:
    chosen = {name: int(bits) for name, bits in zip(SHAPE.names, widths, strict=True)}
    return Design({"w_bits": chosen, "a_bits": chosen})


def _evaluation(design: Design, number: int) -> Json:
    records = PLATFORM.breakdown(SHAPE, design)
    metrics = {m: sum(float(record[m]) for record in records) for m in PLATFORM.metrics}
    screened = number % 7 == 6
    if not screened:
        metrics["error"] = 11.5 + sum(
            (1.2 + 0.3 * i) * (16 / int(bits) - 1) ** 0.5 / 2
            for i, bits in enumerate(design.choices["w_bits"].values())
        )
    return {
        "hash": design.hash,
        "generation": number // 10,
        "design": design.to_json(),
        "metrics": metrics,
        "feasible": not screened and metrics["memory_mib"] <= LIMIT_MIB,
        "violation": 0.0,
        "origin": None if screened else "base",
        "base_error": metrics.get("error"),
        "beacon": None,
        "reason": "screened" if screened else None,
        "key": None,
    }


def _front(feasible: Sequence[Json], objectives: Sequence[str]) -> list[Json]:
    if not feasible:
        return []
    signed = [[METRICS[o].sign * item["metrics"][o] for o in objectives] for item in feasible]
    kept = np.flatnonzero(non_dominated(np.array(signed))).tolist()
    return list({feasible[i]["hash"]: feasible[i] for i in kept}.values())


def _job(evaluations: Sequence[Json]) -> Json:
    return {
        "id": "0123456789abcdef",
        "state": "SUCCEEDED",
        "created_at": "2026-01-02T03:04:05+00:00",
        "finished_at": "2026-01-02T03:14:05+00:00",
        "float_metrics": {"error": 11.3, "frame_error": 20.25, "test_error": 13.1},
        "reference_point": {"error": 40.0, "speedup": 1.0},
        "baseline_hypervolume": 26.0,
        "counts": {
            "designs": len(evaluations),
            "networks_run": sum(item["origin"] is not None for item in evaluations),
        },
        "platforms": [
            {"name": "silago", "params": {"mode": "paper"}, "constants": PLATFORM.constants}
        ],
        "workload": {"name": "mohaq-sru", "params": {}, "macs": 5_549_500, "weights": 5_549_500},
    }


def _spec(objectives: Sequence[str], name: str) -> Json:
    knob = {"layers": "*", "choices": [4, 8, 16], "tie": "none"}
    return {
        "name": name,
        "workload": {"name": "mohaq-sru", "params": {}},
        "platforms": [{"name": "silago", "params": {"mode": "paper"}}],
        "knobs": [{"knob": "w_bits", **knob}, {"knob": "a_bits", **knob, "tie": "w_bits"}],
        "objectives": list(objectives),
        "constraints": [
            {"metric": "memory_mib", "max": LIMIT_MIB, "min": None, "max_increase": None},
            {"metric": "error", "max": None, "min": None, "max_increase": 20.0},
        ],
        "search": {
            **{"algorithm": "nsga2", "population": 40, "offspring": 10, "generations": 12},
            **{"seed": 1, "seed_designs": ["uniform"]},
        },
    }
