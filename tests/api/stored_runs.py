"""Jobs with real specs and designs in a database; their errors are made up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from dse.design import Beacon, BeaconReading, Design, Evaluation
from dse.ports import Foundation, GenerationRecord, Proposal, Role
from dse.spec import spec_from_data
from dse.tasks import CurvePoint, Outcome, Retrained, Retraining, Status
from evaluators.data.vault import Vault
from evaluators.registry import Places, make_workload
from storage.engine import reading
from storage.jobs import create_job
from storage.leases import Lease, claim, release
from storage.owners import Owner
from storage.repositories import Jobs
from storage.run_store import SqlRunStore
from storage.tables import JobState

LAYERS = make_workload("sru-phones", {}, Places(home=Path("unused"))).shape.names
Json = dict[str, Any]  # a JSON object


def spec_data(name: str = "a job", **changes: object) -> Json:
    """A job spec that holds, as JSON data."""
    return {
        "name": name,
        "workload": {"name": "sru-phones"},
        "platforms": [{"name": "bitfusion"}],
        "knobs": [{"knob": "w_bits", "choices": [2, 4, 8]}, {"knob": "a_bits", "choices": [4, 8]}],
        "objectives": ["error", "speedup"],
        "search": {"population": 4, "offspring": 2, "generations": 5},
        **changes,
    }


def add_job(engine: Engine, name: str = "a job", **changes: object) -> str:
    return create_job(engine, spec_from_data(spec_data(name, **changes)))


def take(engine: Engine, job_id: str) -> Lease:
    lease = claim(engine, job_id, Owner.current())
    assert lease is not None
    return lease


def advance(engine: Engine, lease: Lease, generation: int, designs: int = 4) -> None:
    """Finish a generation; the first also lays the foundation and stores two baselines."""
    store = SqlRunStore(engine, lease, shared_cache=False)
    try:
        if generation == 0:
            metrics, point = {"error": 11.0}, {"error": 40.0, "speedup": 1.0}
            store.lay_foundation(Foundation(float_metrics=metrics, reference_point=point))
            _measure(store, Role.BASELINE, 0, [100, 101])
        numbers = [generation * designs + i for i in range(designs)]
        found = _measure(store, Role.SEARCH, generation, numbers)
        counts = {"designs": designs, "measured": designs, "cached": 0, "screened": 0, "failed": 0}
        record = GenerationRecord(
            number=generation,
            state={"generation": generation},
            hypervolume=100.0 + generation,
            front=tuple(e.design.hash for e in found if e.feasible),
            counts=counts,
        )
        store.finish_generation(record, found)
    finally:
        store.close()


def finish(
    engine: Engine, lease: Lease, state: JobState = JobState.SUCCEEDED, error: str | None = None
) -> None:
    release(engine, lease, state, error=error)


def finished_job(engine: Engine, name: str = "a job", generations: int = 3) -> str:
    """A job that has succeeded, with every fourth design infeasible."""
    job_id = add_job(engine, name, search={"population": 4, "generations": generations})
    lease = take(engine, job_id)
    for generation in range(generations):
        advance(engine, lease, generation)
    finish(engine, lease)
    return job_id


WEIGHTS = b"weights of a beacon" * 1000


def job_with_beacons(engine: Engine, home: Path, name: str = "a job") -> str:
    """A job with three beacons: READY, its weights in the vault under `home`; FAILED; LOST. The
    first serves every second design of the second generation, and one of the first."""
    rules = {"enabled": True, "steps": 100}
    job_id = add_job(engine, name, search={"population": 4, "generations": 3}, beacons=rules)
    lease = take(engine, job_id)
    advance(engine, lease, 0)
    store = SqlRunStore(engine, lease, shared_cache=False)
    try:
        _beacon_generation(store, Vault(home / "beacons").write(WEIGHTS))
        store.lose_beacon(3, "its file is missing")
    finally:
        store.close()
    finish(engine, lease)
    return job_id


def _beacon_generation(store: SqlRunStore, digest: str) -> None:
    found = _measure(store, Role.SEARCH, 1, [4, 5, 6, 8, 9])
    served = [_on_beacon(e) if i % 2 == 0 else e for i, e in enumerate(found)]
    beacons = [
        _retrain(store, 1, found[0].design, digest),
        Beacon(
            number=2, design=found[1].design, generation=1, key="r2", reason="FAILED: loss is nan"
        ),
        _retrain(store, 3, found[2].design, "3" * 64),
    ]
    first = store.front()[0]
    counts = {"designs": 5, "measured": 5, "cached": 0, "screened": 0, "failed": 0}
    record = GenerationRecord(
        number=1,
        state={"generation": 1},
        hypervolume=101.0,
        front=tuple(e.design.hash for e in [first, *served]),
        counts=counts,
    )
    store.finish_generation(record, served, revised=[_on_beacon(first)], beacons=beacons)


def _retrain(store: SqlRunStore, number: int, design: Design, digest: str) -> Beacon:
    task = Retraining(
        key=f"r{number}", choices=design.choices, arithmetic={}, steps=100, seed=1, timeout_s=9.0
    )
    curve = tuple(
        CurvePoint(step=step, loss=None if step == 0 else 1.5, error=error)
        for step, error in ((0, 12.5), (50, 6.5), (100, 7.0))
    )
    made = Retrained(digest=digest, size=len(WEIGHTS), best_step=50, curve=curve)
    outcome = Outcome(key=task.key, status=Status.OK, retrained=made, seconds=9.5)
    store.record_retraining(outcome, task)
    return Beacon(number=number, design=design, generation=1, key=task.key, digest=digest)


def _on_beacon(evaluation: Evaluation) -> Evaluation:
    error = evaluation.metrics["error"] - 4.0
    return replace(
        evaluation,
        metrics={**evaluation.metrics, "error": error},
        origin="beacon 1",
        beacon=BeaconReading(number=1, distance=2.5, error=error),
    )


def _design(number: int) -> Design:
    """Design 0, 1, …: its digits in base 3 choose the bits of the layers."""
    bits = {layer: (2, 4, 8)[number // 3**i % 3] for i, layer in enumerate(LAYERS)}
    return Design({"w_bits": bits, "a_bits": dict.fromkeys(LAYERS, 8)})


def _measure(
    store: SqlRunStore, role: Role, generation: int, numbers: Sequence[int]
) -> list[Evaluation]:
    baseline = role is Role.BASELINE
    proposals = [
        Proposal(
            design=_design(n),
            genome=None if baseline else (n,),
            costs={"speedup": 1.0 + n / 10, "memory_mib": 1.0},
            violation=0.0,
            key=f"key-{n}",
            label=f"uniform {n}" if baseline else None,
        )
        for n in numbers
    ]
    store.propose(role, generation, proposals)
    evaluations = []
    for position, (n, proposal) in enumerate(zip(numbers, proposals, strict=True)):
        metrics = {"error": 12.0 + n / 7}
        outcome = Outcome(key=proposal.key, status=Status.OK, metrics=metrics, seconds=0.1)
        store.record(outcome, split="search", choices=proposal.design.choices)
        evaluations.append(
            Evaluation(
                design=proposal.design,
                metrics={**metrics, **proposal.costs},
                feasible=n % 4 != 3,
                violation=0.5 if n % 4 == 3 else 0.0,
                origin="base",
                base_error=metrics["error"],
                reason="breaks a constraint" if n % 4 == 3 else None,
                generation=generation,
                position=position,
                key=proposal.key,
                label=proposal.label,
            )
        )
    if baseline:
        store.conclude(role, evaluations)
    return evaluations


def state_of(engine: Engine, job_id: str) -> JobState:
    with reading(engine) as connection:
        return Jobs(connection).get(job_id).state
