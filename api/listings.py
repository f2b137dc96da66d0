"""What exists, as JSON items: workloads, platforms, knobs and metrics, for REST and commands."""

from api.documents import Json
from dse.catalogue import Catalogue
from dse.knobs import KNOBS
from dse.metrics import METRICS
from evaluators.registry import PLATFORMS, WORKLOADS


def workload_items(catalogue: Catalogue) -> list[Json]:
    """List the workloads with their default parameters; `layers` maps a name to its weights."""
    items = []
    for entry in WORKLOADS.values():
        workload = catalogue.workload(entry.name, {})
        items.append(
            {
                "name": entry.name,
                "summary": entry.summary,
                "metrics": list(workload.metrics),
                "splits": list(workload.splits),
                "trainable": workload.trainable,
                "needs": workload.needs,
                "params": dict(workload.params),
                "layers": {layer.name: layer.weights for layer in workload.shape.layers},
                "macs": workload.shape.macs,
            }
        )
    return items


def platform_items(catalogue: Catalogue) -> list[Json]:
    """List the platforms with their default parameters."""
    items = []
    for entry in PLATFORMS.values():
        platform = catalogue.platform(entry.name, {})
        items.append(
            {
                "name": entry.name,
                "summary": entry.summary,
                "knobs": {knob: list(values) for knob, values in platform.knobs.items()},
                "metrics": list(platform.metrics),
                "params": dict(platform.params),
            }
        )
    return items


def constant_items(catalogue: Catalogue, platform: str) -> list[Json]:
    """List a platform's constants: name, value, unit, source.

    Raises:
        UnknownNameError: no such platform.
    """
    return [dict(constant) for constant in catalogue.platform(platform, {}).constants]


def knob_items() -> list[Json]:
    """List what a design may choose."""
    return [
        {
            "name": knob.name,
            "choices": list(knob.choices),
            "neutral": knob.neutral,
            "unit": knob.unit,
            "meaning": knob.meaning,
        }
        for knob in KNOBS.values()
    ]


def metric_items() -> list[Json]:
    """List what a design is judged by."""
    return [
        {"name": m.name, "unit": m.unit, "goal": m.goal, "meaning": m.meaning}
        for m in METRICS.values()
    ]
