"""What exists, as JSON items: workloads, platforms, knobs and metrics, for REST and commands."""

from collections.abc import Mapping

from api.bootstrap import RegistryCatalogue
from api.documents import Json
from dse.errors import DseError
from dse.knobs import KNOBS
from dse.metrics import METRICS
from dse.ports import Platform, Workload
from evaluators.hardware.own.platform import OwnPlatform
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


def platform_items(catalogue: RegistryCatalogue) -> list[Json]:
    """List the platforms with their default parameters and constants; own ones that cannot be
    used too: `summary` says why."""
    items = [
        _platform_item(entry.summary, catalogue.platform(entry.name, {}))
        for entry in PLATFORMS.values()
    ]
    for name in catalogue.own_platforms:
        try:
            platform = catalogue.platform(name, {})
            items.append(_platform_item(own_summary(platform), platform))
        except DseError as error:
            empty: Json = {"knobs": {}, "metrics": [], "params": {}, "constants": []}
            items.append({"name": name, "summary": f"cannot be used: {error}", **empty})
    return items


def own_summary(platform: Platform) -> str:
    """Say what its maker says of a platform."""
    return platform.definition.summary if isinstance(platform, OwnPlatform) else ""


def _platform_item(summary: str, platform: Platform) -> Json:
    return {
        "name": platform.name,
        "summary": summary,
        "knobs": {knob: list(values) for knob, values in platform.knobs.items()},
        "metrics": list(platform.metrics),
        "params": dict(platform.params),
        "constants": platform.constants,
    }


def platform_item(catalogue: RegistryCatalogue, name: str, params: Mapping[str, object]) -> Json:
    """Describe one platform, as `platform_items` does.

    Raises:
        UnknownNameError: no such platform.
        SpecError: parameters it does not take, or a definition that cannot be used.
    """
    platform = catalogue.platform(name, params)
    entry = PLATFORMS.get(name)
    return _platform_item(own_summary(platform) if entry is None else entry.summary, platform)


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
