"""`dse platforms`: accelerators, listed, shown, added as files and removed."""

import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from api import bootstrap, listings
from api.assignments import params_from
from api.commands import listing
from api.console import out
from api.settings import read_settings
from evaluators.hardware.own import shelf

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]
_CONSTANT: Final = ("name", "value", "unit", "source")
Name = Annotated[str, typer.Argument(help="see `dse platforms`")]


class _OrName(TyperGroup):
    """Takes the name of a platform where a command stands: `dse platforms silago`."""

    def resolve_command(
        self, ctx: Any, args: list[str]
    ) -> tuple[str | None, Any, list[str]]:  # of the click that typer bundles, and hides
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["constants", *args]
        return super().resolve_command(ctx, args)


platforms = typer.Typer(
    cls=_OrName, help="List, show, add and remove the accelerators to search for."
)


@platforms.callback(invoke_without_command=True)
def listed(context: typer.Context, as_json: AsJson = False) -> None:
    """List the accelerators; show, add and remove them.

    \b
    dse platforms
    dse platforms silago
    dse platforms add tpu-like.yaml
    """
    if context.invoked_subcommand is None:
        listing.platforms(as_json)


@platforms.command()
def show(
    name: Name,
    param: Annotated[list[str], typer.Option("--param", help="NAME=VALUE of the platform")] = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Show an accelerator's knobs and metrics, and every constant with its unit and source.

    \b
    dse platforms show silago
    dse platforms show bitfusion --param mode=cycles --json
    """
    catalogue = bootstrap.catalogue(read_settings())
    item = listings.platform_item(catalogue, name, params_from(param))
    if as_json:
        typer.echo(json.dumps(item, indent=2))
        return
    figures = item.pop("constants")
    for key, value in item.items():
        out.print(f"{key}: {_line(value)}", markup=False)
    listing.show(figures, False, _CONSTANT)


@platforms.command(hidden=True)
def constants(name: Name, as_json: AsJson = False) -> None:
    """List an accelerator's constants: what `dse platforms NAME` does.

    \b
    dse platforms constants silago
    """
    item = listings.platform_item(bootstrap.catalogue(read_settings()), name, {})
    listing.show(item["constants"], as_json, _CONSTANT)


@platforms.command()
def add(
    file: Annotated[Path, typer.Argument(help="YAML: see docs/own-platforms.md")],
    replace: Annotated[
        bool, typer.Option("--replace", help="in place of the one of that name")
    ] = False,
) -> None:
    """Add an accelerator that a YAML file describes. Nothing in the file is run.

    \b
    dse platforms add tpu-like.yaml
    """
    platform = shelf.add(file, replace=replace, places=read_settings().places)
    knobs = ", ".join(platform.knobs)
    out.print(
        f"added {platform.name}: {len(platform.constants)} constants; knobs {knobs}; "
        f"metrics {', '.join(platform.metrics)}",
        markup=False,
    )


@platforms.command()
def remove(name: Name) -> None:
    """Remove an accelerator that was added as a file.

    \b
    dse platforms remove tpu-like
    """
    shelf.remove(name, read_settings().places)
    out.print(f"removed {name}", markup=False)


def _line(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_line(inner)}" for key, inner in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
