"""`dse workloads`, `dse platforms`, `dse knobs`: what exists."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from rich.table import Table

from api import bootstrap, listings
from api.commands.options import Plugins
from api.console import out
from api.settings import read_settings

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]


def workloads(
    plugin: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """List the networks that can be searched or costed.

    \b
    dse workloads
    dse workloads --plugin my_workload.py
    """
    catalogue = bootstrap.catalogue(read_settings(plugins=plugin))
    items = listings.workload_items(catalogue)
    show(items, as_json, ("name", "summary", "metrics", "macs", "trainable", "params", "needs"))


def platforms(as_json: AsJson = False) -> None:
    """List the accelerators."""
    items = listings.platform_items(bootstrap.catalogue(read_settings()))
    if as_json:
        items = [{k: v for k, v in item.items() if k != "constants"} for item in items]
    show(items, as_json, ("name", "summary", "knobs", "metrics", "params"))


def knobs(as_json: AsJson = False) -> None:
    """List what a design may choose, and the metrics it is judged by.

    \b
    dse knobs
    """
    columns = ("name", "choices", "neutral", "unit", "meaning")
    show(listings.knob_items(), as_json, columns)
    if not as_json:
        show(listings.metric_items(), as_json, ("name", "unit", "goal", "meaning"))


def show(items: Sequence[Mapping[str, object]], as_json: bool, columns: tuple[str, ...]) -> None:
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
