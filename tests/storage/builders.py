"""Small values that the storage tests are made of."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from dse.design import Beacon, BeaconReading, Design, Evaluation
from dse.ports import Foundation, GenerationRecord, Proposal, Role
from dse.spec import JobSpec, spec_from_data
from dse.tasks import CurvePoint, Outcome, Retrained, Retraining, Status
from storage.engine import reading
from storage.leases import Lease, claim
from storage.owners import Owner
from storage.repositories import Event, Job, Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import JobRow

FOUNDATION = Foundation(float_metrics={"error": 10.0}, reference_point={"error": 40.0})


def spec(seed: int = 1, *, priority: int = 0) -> JobSpec:
    return spec_from_data(
        {
            "name": "tiny",
            "workload": {"name": "toy"},
            "platforms": [{"name": "chip"}],
            "knobs": [{"knob": "w_bits", "choices": [2, 4, 8]}],
            "objectives": ["error", "memory_mib"],
            "search": {"seed": seed},
            "priority": priority,
        }
    )


def design(number: int) -> Design:
    """Design 0, 1, …: its digits in base 3 choose the bits of three layers."""
    digits = [number // 3**i % 3 for i in range(3)]
    return Design({"w_bits": {f"L{i}": (2, 4, 8)[d] for i, d in enumerate(digits)}})


def proposal(number: int) -> Proposal:
    return Proposal(
        design=design(number),
        genome=(number % 3, number // 3 % 3, number // 9 % 3),
        costs={"memory_mib": 0.1 * number},
        violation=0.0,
        key=f"key-{number}",
    )


def proposals(numbers: Iterable[int]) -> list[Proposal]:
    return [proposal(number) for number in numbers]


def measured(number: int, *, error: float | None = None) -> Outcome:
    metrics = {"error": 100.0 / (number + 3) if error is None else error}
    return Outcome(key=f"key-{number}", status=Status.OK, metrics=metrics, seconds=0.5)


def evaluation(number: int, generation: int, position: int) -> Evaluation:
    metrics = measured(number).metrics
    assert metrics is not None
    return Evaluation(
        design=design(number),
        metrics={**metrics, **proposal(number).costs},
        feasible=True,
        origin="base",
        base_error=metrics["error"],
        generation=generation,
        position=position,
        key=f"key-{number}",
    )


def evaluations(numbers: Sequence[int], generation: int) -> list[Evaluation]:
    return [evaluation(n, generation, position) for position, n in enumerate(numbers)]


def record(generation: int, front: Iterable[int], *, designs: int = 0) -> GenerationRecord:
    return GenerationRecord(
        number=generation,
        state={"generation": generation, "rng": str(2**127 + generation)},
        hypervolume=1.0 + generation / 3,
        front=tuple(design(number).hash for number in front),
        counts={"designs": designs, "measured": designs, "cached": 0, "screened": 0, "failed": 0},
    )


def retraining(number: int) -> Retraining:
    return Retraining(
        key=f"retraining-{number}",
        choices=design(number).choices,
        arithmetic={},
        steps=100,
        seed=7,
        timeout_s=60.0,
    )


def retrained(number: int, *, digest: str | None = None) -> Outcome:
    """A retraining of design `number` that brought its error down to 5 %."""
    curve = (
        CurvePoint(step=0, loss=None, error=measured(number).metrics["error"]),  # type: ignore[index]
        CurvePoint(step=50, loss=1.25, error=5.0),
        CurvePoint(step=100, loss=1 / 3, error=6.0),
    )
    made = Retrained(
        digest=digest or f"{number:064x}", size=2**33 + number, best_step=50, curve=curve
    )
    key = f"retraining-{number}"
    return Outcome(key=key, status=Status.OK, retrained=made, seconds=12.5)


def beacon(number: int, of: int, generation: int) -> Beacon:
    """Beacon `number`, made of design `of`."""
    return Beacon(
        number=number,
        design=design(of),
        generation=generation,
        key=f"retraining-{of}",
        digest=f"{of:064x}",
    )


def served(
    number: int, generation: int, position: int, *, by: int, error: float = 5.0
) -> Evaluation:
    """The evaluation of design `number`, its error being that on the weights of beacon `by`."""
    found = evaluation(number, generation, position)
    return replace(
        found,
        metrics={**found.metrics, "error": error},
        origin=f"beacon {by}",
        beacon=BeaconReading(number=by, distance=2.5, error=error),
    )


def ghost() -> Owner:
    """An owner whose process is gone: the id is in use, by a process that began later."""
    return replace(Owner.current(), started=Owner.current().started - 1)


def take(engine: Engine, job_id: str, owner: Owner | None = None) -> Lease:
    lease = claim(engine, job_id, owner or ghost())
    assert lease is not None
    return lease


def run_generation(
    store: SqlRunStore, generation: int, numbers: Sequence[int], front: Iterable[int]
) -> None:
    store.propose(Role.SEARCH, generation, proposals(numbers))
    for number in numbers:
        store.record(measured(number), split="search", choices=design(number).choices)
    store.finish_generation(
        record(generation, front, designs=len(numbers)), evaluations(numbers, generation)
    )


def far(name: str = "elsewhere") -> Owner:
    """An owner on another host, of whom only the clock tells."""
    return replace(Owner.current(), host=name, boot=name)


def run_out(engine: Engine, job_id: str, *, by_s: float = 1.0) -> None:
    """Let a job's lease have ended some seconds ago, or in some if negative."""
    with engine.begin() as connection:
        until = datetime.now(UTC) - timedelta(seconds=by_s)
        connection.execute(update(JobRow).where(JobRow.id == job_id).values(lease_until=until))


def job(engine: Engine, job_id: str) -> Job:
    with reading(engine) as connection:
        return Jobs(connection).get(job_id)


def events(engine: Engine, job_id: str) -> list[Event]:
    with reading(engine) as connection:
        return Results(connection).events(job_id)
