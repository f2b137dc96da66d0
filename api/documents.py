"""JSON documents about runs: what `dse run --json` writes, reports show and REST answers."""

from typing import Any, TypedDict

from dse.design import Evaluation

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
        "reason": evaluation.reason,
        "key": evaluation.key,
    }
    if evaluation.label is not None:
        data["label"] = evaluation.label
    return data
