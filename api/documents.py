"""JSON documents about runs: what `dse run --json` writes, reports show and REST answers."""

from typing import Any, TypedDict

from dse.design import BeaconReading, Evaluation
from storage.beacons import BeaconSummary

Json = dict[str, Any]  # a JSON object


class Document(TypedDict):
    """A run. All that may differ between two runs of one spec is under `job`.

    Never sort its keys: the order of layers in a design is the network's.
    """

    job: Json
    spec: Json
    front: list[Json]
    baselines: list[Json]
    evaluations: list[Json]
    hypervolume: list[float]
    beacons: list[Json]


def item(evaluation: Evaluation) -> Json:
    """Return one evaluation as JSON data."""
    data: Json = {
        "hash": evaluation.design.hash,
        "generation": evaluation.generation,
        "design": evaluation.design.to_json(),
        "metrics": dict(sorted(evaluation.metrics.items())),
        "feasible": evaluation.feasible,
        "violation": evaluation.violation,
        "origin": evaluation.origin,
        "base_error": evaluation.base_error,
        "beacon": _reading(evaluation.beacon),
        "reason": evaluation.reason,
        "key": evaluation.key,
    }
    if evaluation.label is not None:
        data["label"] = evaluation.label
    return data


def _reading(beacon: BeaconReading | None) -> Json | None:
    if beacon is None:
        return None
    return {"number": beacon.number, "distance": beacon.distance, "error": beacon.error}


def beacon_item(beacon: BeaconSummary) -> Json:
    """Return one beacon as JSON data, without how long it took."""
    return {
        "number": beacon.number,
        "generation": beacon.generation,
        "state": beacon.state,
        "hash": beacon.design.hash,
        "design": beacon.design.to_json(),
        "sha256": beacon.digest,
        "size": beacon.size,
        "steps": beacon.steps,
        "seed": beacon.seed,
        "best_step": beacon.best_step,
        "curve": [
            {"step": point.step, "loss": point.loss, "error": point.error}
            for point in beacon.curve
        ],
        "base_error": beacon.base_error,
        "error": beacon.error,
        "served": beacon.served,
        "mean_gain": beacon.mean_gain,
        "reason": beacon.reason,
    }
