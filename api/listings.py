"""What exists, as JSON items: workloads, platforms, knobs and metrics, for REST and commands."""

from api.bootstrap import RegistryCatalogue
from api.documents import Json
from dse.catalogue import Catalogue
from dse.errors import DseError
from dse.knobs import KNOBS
from dse.metrics import METRICS
from dse.ports import Workload
from evaluators.registry import PLATFORMS, WORKLOADS


def workload_items(catalogue: RegistryCatalogue) -> list[Json]:
    """List the workloads with their default parameters; `layers` maps a name to its weights.

    Plug-ins that cannot be used are in the list: `needs` says why.
    """
    items = [
        _workload_item(entry.name, entry.summary, catalogue.known_workload(entry.name, {}))
        for entry in WORKLOADS.values()
    ]
    for name in catalogue.file_names:
        try:
            workload = catalogue.known_workload(name, {})
            items.append(_workload_item(name, "added as a file", workload))
        except DseError as error:
            items.append(_refused_item(name, str(error)))
    for offer in catalogue.offers():
        if offer.workload is None:
            items.append(_refused_item(offer.name, offer.reason))
        else:
            items.append(_workload_item(offer.name, offer.summary, offer.workload))
    return items


def _workload_item(name: str, summary: str, workload: Workload) -> Json:
    return {
        "name": name,
        "summary": summary,
        "metrics": list(workload.metrics),
        "splits": list(workload.splits),
        "trainable": workload.trainable,
        "needs": workload.needs,
        "params": dict(workload.params),
        "layers": {layer.name: layer.weights for layer in workload.shape.layers},
        "macs": workload.shape.macs,
    }


def _refused_item(name: str, reason: str | None) -> Json:
    return {
        "name": name,
        "summary": "cannot be used",
        "metrics": [],
        "splits": [],
        "trainable": False,
        "needs": reason,
        "params": {},
        "layers": {},
        "macs": 0,
    }


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
