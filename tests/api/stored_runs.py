"""Jobs with real specs and designs in a database; their errors are made up."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from dse.design import Design, Evaluation
from dse.ports import Foundation, GenerationRecord, Outcome, Proposal, Role, Status
from dse.spec import spec_from_data
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
