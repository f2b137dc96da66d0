"""A run's document, read from the store."""

from collections.abc import Mapping

from sqlalchemy import Engine

from api.documents import Document, Json, beacon_item, item
from dse.catalogue import Catalogue
from dse.design import Evaluation
from dse.errors import DseError, Interrupted
from dse.pareto import hypervolume
from dse.ports import Role
from dse.problem import objectives, platform_digest
from dse.spec import JobSpec, Reference, spec_from_data
from storage.beacons import list_beacons
from storage.engine import reading
from storage.repositories import Jobs, Results


def run_document(engine: Engine, job_id: str, catalogue: Catalogue) -> Document:
    """Return what is stored of a job, in stable order.

    A workload or platform that is gone, or a platform that is another one since, leaves out what
    only it can tell, not the results.
    """
    with reading(engine) as connection:
        row, results = Jobs(connection).get(job_id), Results(connection)
        front = results.front(job_id)
        searched = results.evaluations(job_id, Role.SEARCH)
        baselines = results.evaluations(job_id, Role.BASELINE)
        hypervolumes = results.hypervolumes(job_id)
        beacons = list_beacons(connection, job_id)
    spec = spec_from_data(row.spec)
    return {
        "job": {
            "id": row.id,
            "state": row.state,
            "attempt": row.attempt,
            "created_at": row.created_at.isoformat(),
            "finished_at": row.finished_at.isoformat() if row.finished_at else None,
            "float_metrics": dict(row.float_metrics or {}),
            "reference_point": dict(row.reference_point or {}),
            "baseline_hypervolume": _hypervolume(spec, baselines, row.reference_point),
            "counts": {
                "designs": len(searched),
                "networks_run": sum(e.measured for e in searched),
                "feasible": sum(e.feasible for e in searched),
            },
            "platforms": [
                _platform(named, catalogue, row.platforms or {}) for named in spec.platforms
            ],
            "workload": _workload(spec.workload, catalogue),
        },
        "spec": spec.model_dump(mode="json"),
        "front": [item(e) for e in _sorted(spec, front)],
        "baselines": [item(e) for e in baselines],
        "evaluations": [item(e) for e in searched],
        "hypervolume": hypervolumes,
        "beacons": [beacon_item(beacon) for beacon in beacons],
    }


def _workload(named: Reference, catalogue: Catalogue) -> Json:
    try:
        workload = catalogue.workload(named.name, named.params)
        params, shape = dict(workload.params), workload.shape
    except Interrupted:
        raise
    except DseError:
        return {"name": named.name, "params": named.params, "macs": None, "weights": None}
    return {"name": named.name, "params": params, "macs": shape.macs, "weights": shape.weights}


def _platform(named: Reference, catalogue: Catalogue, begun: Mapping[str, str]) -> Json:
    gone = {"name": named.name, "params": named.params, "constants": []}
    try:
        platform = catalogue.platform(named.name, named.params)
    except DseError:
        return gone
    if begun.get(named.name, platform_digest(platform)) != platform_digest(platform):
        return gone  # it is another one since
    params = dict(platform.params)
    return {"name": platform.name, "params": params, "constants": platform.constants}


def _hypervolume(
    spec: JobSpec, rows: list[Evaluation], reference_point: Mapping[str, float] | None
) -> float:
    feasible = [e.metrics for e in rows if e.feasible]
    if not (feasible and reference_point):
        return 0.0
    point = objectives(spec, [reference_point]).reshape(-1)
    return hypervolume(objectives(spec, feasible), point)


def _sorted(spec: JobSpec, rows: list[Evaluation]) -> list[Evaluation]:
    """Order a front along its first objective."""
    values = objectives(spec, [e.metrics for e in rows]).tolist()
    places = sorted(range(len(rows)), key=lambda i: (values[i], rows[i].design.hash))
    return [rows[i] for i in places]
