"""`dse workloads`: networks, listed, shown, added as files and removed."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.commands import listing
from api.commands.options import Plugins
from api.console import Bars, figure, out
from api.settings import read_settings
from api.workloads import add_workload, remove_workload, workload_item

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
Name = Annotated[str, typer.Argument(help="see `dse workloads`")]

workloads = typer.Typer(help="List, show, add and remove the networks that can be searched.")


@workloads.callback(invoke_without_command=True)
def listed(
    context: typer.Context,
    plugin: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """List the networks that can be searched or costed; show, add and remove them.

    \b
    dse workloads
    dse workloads --plugin my_workload.py
    """
    if context.invoked_subcommand is None:
        listing.workloads(plugin, as_json)


@workloads.command()
def show(
    name: Name,
    plugin: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Show a network's layers, what stays in float, its metrics and data.

    \b
    dse workloads show sru-phones
    dse workloads show sru-phones --json
    """
    item = workload_item(read_settings(plugins=plugin), name)
    if as_json:
        typer.echo(json.dumps(item, indent=2))
        return
    layers = item.pop("layers")
    for key, value in item.items():
        told = ", ".join(map(str, value)) if isinstance(value, list) else value
        out.print(f"{key}: {'none' if told in (None, '', {}) else told}", markup=False)
    columns = list(layers[0]) if layers else []
    table = Table(*columns)
    for layer in layers:
        table.add_row(*(_cell(layer[column]) for column in columns))
    out.print(table)


@workloads.command()
def add(
    name: Name,
    model: Annotated[Path, typer.Option(help="a .pt2 file of torch.export.save")],
    calibration: Annotated[Path, typer.Option(help=".npz with x: ranges of activations")],
    search: Annotated[Path, typer.Option(help=".npz with x and y: measured in a search")],
    test: Annotated[Path, typer.Option(help=".npz with x and y: measured at its end")],
    metric: Annotated[str, typer.Option(help="top1-error, top5-error or mse")],
    train: Annotated[
        Path | None, typer.Option(help=".npz with x and y: beacons are retrained on it")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="in place of the one of that name")
    ] = False,
) -> None:
    """Add an exported network and its data as a workload. No code in the files is run.

    \b
    dse workloads add digits --model digits.pt2 --calibration calibration.npz \\
        --search search.npz --test test.npz --metric top1-error
    """
    given = {"model": model, "calibration": calibration, "search": search, "test": test}
    if train is not None:
        given["train"] = train
    with Bars() as bars:
        added, examined = add_workload(
            read_settings(), name, given, metric=metric, replace=replace, progress=bars
        )
    out.print(
        f"added {name}: {len(added.shape.layers)} layers, {figure(added.shape.macs)} MACs; "
        + ", ".join(f"{metric} {figure(e)} on {split}" for split, e in examined.errors.items()),
        markup=False,
    )
    for product in added.floats:
        out.print(f"stays in float: {product}", markup=False)


@workloads.command()
def remove(name: Name) -> None:
    """Remove a workload that was added as files.

    \b
    dse workloads remove digits
    """
    remove_workload(read_settings(), name)
    out.print(f"removed {name}", markup=False)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return figure(value) if isinstance(value, float) else str(value)
