"""`dse workloads`, `dse platforms`, `dse knobs`: what exists."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table

from api import bootstrap
from api.console import out
from api.settings import read_settings
from dse.knobs import KNOBS
from dse.metrics import METRICS
from evaluators.registry import PLATFORMS, WORKLOADS

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]


def workloads(as_json: AsJson = False) -> None:
    """List the networks that can be searched or costed.

    \b
    dse workloads
    """
    catalogue = bootstrap.catalogue(read_settings())
    items = []
    for entry in WORKLOADS.values():
        workload = catalogue.workload(entry.name, {})
        items.append(
            {
                "name": entry.name,
                "summary": entry.summary,
                "metrics": list(workload.metrics),
                "params": dict(workload.params),
                "layers": {layer.name: layer.weights for layer in workload.shape.layers},
                "macs": workload.shape.macs,
            }
        )
    _show(items, as_json, ("name", "summary", "metrics", "macs", "params"))


def platforms(
    name: Annotated[str | None, typer.Argument(help="one platform, with its constants")] = None,
    as_json: AsJson = False,
) -> None:
    """List the accelerators, or one with every constant and its source.

    \b
    dse platforms
    dse platforms silago
    """
    catalogue = bootstrap.catalogue(read_settings())
    if name is not None:
        constants = catalogue.platform(name, {}).constants
        _show(constants, as_json, ("name", "value", "unit", "source"))
        return
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
    _show(items, as_json, ("name", "summary", "knobs", "metrics", "params"))


def knobs(as_json: AsJson = False) -> None:
    """List what a design may choose, and the metrics it is judged by.

    \b
    dse knobs
    """
    items = [
        {
            "name": knob.name,
            "choices": list(knob.choices),
            "neutral": knob.neutral,
            "unit": knob.unit,
            "meaning": knob.meaning,
        }
        for knob in KNOBS.values()
    ]
    _show(items, as_json, ("name", "choices", "neutral", "unit", "meaning"))
    if not as_json:
        metrics = [
            {"metric": m.name, "unit": m.unit, "goal": m.goal, "meaning": m.meaning}
            for m in METRICS.values()
        ]
        _show(metrics, as_json, ("metric", "unit", "goal", "meaning"))


def _show(items: Sequence[Mapping[str, object]], as_json: bool, columns: tuple[str, ...]) -> None:
    if as_json:
        typer.echo(json.dumps({"items": list(items)}, indent=2))
        return
    table = Table(*columns)
    for item in items:
        table.add_row(*(_cell(item.get(column)) for column in columns))
    out.print(table)


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return " ".join(_cell(inner) for inner in value)
    return str(value).replace("[", r"\[")
