"""A run's document, read from the store."""

from collections.abc import Mapping

from sqlalchemy import Engine

from api.documents import Document, beacon_item, item
from dse.catalogue import Catalogue, check
from dse.design import Evaluation
from dse.pareto import hypervolume
from dse.ports import Role
from dse.problem import Problem
from dse.spec import spec_from_data
from storage.beacons import list_beacons
from storage.engine import reading
from storage.repositories import Jobs, Results


def run_document(engine: Engine, job_id: str, catalogue: Catalogue) -> Document:
    """Return what is stored of a job, in stable order."""
    with reading(engine) as connection:
        row, results = Jobs(connection).get(job_id), Results(connection)
        front = results.front(job_id)
        searched = results.evaluations(job_id, Role.SEARCH)
        baselines = results.evaluations(job_id, Role.BASELINE)
        hypervolumes = results.hypervolumes(job_id)
        beacons = list_beacons(connection, job_id)
    spec = spec_from_data(row.spec)
    problem = check(spec, catalogue)
    return {
        "job": {
            "id": row.id,
            "state": row.state,
            "attempt": row.attempt,
            "created_at": row.created_at.isoformat(),
            "finished_at": row.finished_at.isoformat() if row.finished_at else None,
            "float_metrics": dict(row.float_metrics or {}),
            "reference_point": dict(row.reference_point or {}),
            "baseline_hypervolume": _hypervolume(problem, baselines, row.reference_point),
            "counts": {
                "designs": len(searched),
                "networks_run": sum(e.measured for e in searched),
                "feasible": sum(e.feasible for e in searched),
            },
            "platforms": [
                {"name": p.name, "params": dict(p.params), "constants": p.constants}
                for p in problem.platforms
            ],
            "workload": {
                "name": problem.workload.name,
                "params": dict(problem.workload.params),
                "macs": problem.workload.shape.macs,
                "weights": problem.workload.shape.weights,
            },
        },
        "spec": spec.model_dump(mode="json"),
        "front": [item(e) for e in _sorted(problem, front)],
        "baselines": [item(e) for e in baselines],
        "evaluations": [item(e) for e in searched],
        "hypervolume": hypervolumes,
        "beacons": [beacon_item(beacon) for beacon in beacons],
    }


def _hypervolume(
    problem: Problem, rows: list[Evaluation], reference_point: Mapping[str, float] | None
) -> float:
    feasible = [e.metrics for e in rows if e.feasible]
    if not (feasible and reference_point):
        return 0.0
    return hypervolume(problem.objectives(feasible), problem.reference(reference_point))


def _sorted(problem: Problem, rows: list[Evaluation]) -> list[Evaluation]:
    """Order a front along its first objective."""
    objectives = problem.objectives([e.metrics for e in rows]).tolist()
    places = sorted(range(len(rows)), key=lambda i: (objectives[i], rows[i].design.hash))
    return [rows[i] for i in places]
