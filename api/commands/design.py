"""`dse cost` and `dse evaluate`: one design, looked at closely. Neither repairs; both refuse."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from api import bootstrap, exports
from api.assignments import design_from, params_from
from api.commands.options import Plugins
from api.console import Bars, err, figure, heading, out
from api.settings import read_settings
from dse.design import Design
from dse.errors import SpecError
from dse.ports import Platform, Workload
from dse.problem import ambiguous_metrics, costs_of

WorkloadName = Annotated[str, typer.Option("--workload", help="see `dse workloads`")]
PlatformNames = Annotated[
    list[str], typer.Option("--platform", help="see `dse platforms`; may be repeated")
]
Params = Annotated[
    list[str],
    typer.Option("--param", help="NAME=VALUE of the platforms, or NAME.KEY=VALUE of one by name"),
]
WorkloadParams = Annotated[
    list[str], typer.Option("--workload-param", help="NAME=VALUE of the workload")
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set", help="KNOB=VALUE or KNOB@LAYERS=VALUE (a glob, @first or @last); later ones win"
    ),
]
DesignSource = Annotated[
    str | None,
    typer.Option("--design", help="a stored design's hash (or its beginning), or a JSON file"),
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document")]


def cost(
    workload: WorkloadName,
    platform: PlatformNames,
    param: Params = [],  # noqa: B006
    workload_param: WorkloadParams = [],  # noqa: B006
    set_: Settings = [],  # noqa: B006
    design: DesignSource = None,
    plugin: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Cost a design on a platform; no network is run.

    \b
    dse cost --workload mohaq-sru --platform silago --set w_bits=4 --set a_bits=4
    dse cost --workload mohaq-sru --platform bitfusion --param mode=latency \\
        --set w_bits=2 --set a_bits=2 --set 'a_bits@FC=4' --json
    """
    settings = read_settings(plugins=plugin)
    network = bootstrap.catalogue(settings).workload(workload, params_from(workload_param))
    platforms = _platforms(platform, param)
    chosen = _design(network, platforms, set_, design)
    _show(network, platforms, chosen, _costs(network, platforms, chosen), as_json)


def evaluate(
    workload: Annotated[str | None, typer.Option("--workload", help="see `dse workloads`")] = None,
    platform: PlatformNames = [],  # noqa: B006
    param: Params = [],  # noqa: B006
    workload_param: WorkloadParams = [],  # noqa: B006
    set_: Settings = [],  # noqa: B006
    design: DesignSource = None,
    split: Annotated[
        str, typer.Option(help="search, test, or another split of the workload")
    ] = "search",
    export: Annotated[
        Path | None,
        typer.Option("--export", help="JSON file of `dse export`, in place of all but --split"),
    ] = None,
    plugin: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Cost a design and measure its error by running the network in its arithmetic.

    \b
    dse evaluate --workload sru-phones --platform bitfusion --set w_bits=4 --set a_bits=8
    dse evaluate --workload sru-phones --platform bitfusion --design 3fa94c --split test
    dse evaluate --export tagger.json --split test
    """
    if export is not None:
        if workload or platform or param or workload_param or set_ or design:
            raise SpecError(
                "--export says it all: allowed beside it are --split, --plugin and --json"
            )
        shelf = bootstrap.catalogue(read_settings(plugins=plugin))
        _evaluate_export(export, shelf, split, as_json)
        return
    if workload is None or not platform:
        raise SpecError("what to evaluate must be given: --workload and --platform, or --export")
    settings = read_settings(plugins=plugin)
    network = bootstrap.catalogue(settings).workload(workload, params_from(workload_param))
    platforms = _platforms(platform, param)
    chosen = _design(network, platforms, set_, design)
    metrics = _costs(network, platforms, chosen)
    with Bars() as bars:
        measured = bootstrap.measure(network, platforms, chosen, split, bars)
    _show(network, platforms, chosen, metrics | _named(measured, split), as_json)


def _evaluate_export(
    file: Path, catalogue: bootstrap.RegistryCatalogue, split: str, as_json: bool
) -> None:
    export = exports.read_export(file)
    manifest = export.manifest
    network = catalogue.workload(manifest.workload.name, manifest.workload.params)
    platforms = [catalogue.platform(named.name, named.params) for named in manifest.platforms]
    chosen = design_from(network, (), Design(manifest.design), platforms=platforms)
    metrics = _costs(network, platforms, chosen)
    with Bars() as bars:
        measured, same = exports.measure(export, network, platforms, chosen, split, bars)
    if not same:
        err.print(
            "note: the data or the base network here are not those of the export: "
            "its stored error need not come out",
            markup=False,
        )
    found = _named(measured, split)
    _show(network, platforms, chosen, metrics | found, as_json)
    if not as_json:
        told = ", ".join(f"{name} {figure(manifest.metrics.get(name))}" for name in found)
        out.print(f"stored with the export: {told}", markup=False)


def _named(measured: Mapping[str, float], split: str) -> dict[str, float]:
    prefix = "" if split == "search" else f"{split}_"
    return {prefix + name: value for name, value in measured.items()}


def _platforms(names: Sequence[str], params: Sequence[str]) -> list[Platform]:
    catalogue = bootstrap.catalogue(read_settings())
    if len(set(names)) != len(names):
        raise SpecError(f"platforms must not repeat, got {list(names)}")
    shared = [p for p in params if p.partition("=")[0].partition(".")[0] not in names]
    platforms = []
    for name in names:
        own = [p.removeprefix(f"{name}.") for p in params if p.startswith(f"{name}.")]
        platforms.append(catalogue.platform(name, params_from([*shared, *own])))
    return platforms


def _design(
    workload: Workload,
    platforms: Sequence[Platform],
    assignments: Sequence[str],
    source: str | None,
) -> Design:
    stored = None
    # os.path.isfile takes names of any length
    if source is not None and os.path.isfile(source):
        stored = bootstrap.read_design(Path(source))
    elif source is not None:
        stored = bootstrap.find_design(read_settings(), source)
    return design_from(workload, assignments, stored, platforms=platforms)


def _costs(workload: Workload, platforms: Sequence[Platform], design: Design) -> dict[str, float]:
    ambiguous = ambiguous_metrics(platforms)
    metrics = {}
    for platform in platforms:
        for name, column in costs_of(platform, workload, [design]).items():
            told = f"{platform.name}.{name}" if name in ambiguous else name
            metrics[told] = float(column[0])
    return metrics


def _show(
    workload: Workload,
    platforms: Sequence[Platform],
    design: Design,
    metrics: dict[str, float],
    as_json: bool,
) -> None:
    layers: list[dict[str, Any]] = [  # a platform's breakdown: names and figures
        {"platform": platform.name, **part}
        for platform in platforms
        for part in platform.breakdown(workload.shape, design)
    ]
    if as_json:
        document = {
            "workload": {"name": workload.name, "params": dict(workload.params)},
            "platforms": [{"name": p.name, "params": dict(p.params)} for p in platforms],
            "design": design.to_json(),
            "metrics": {name: _known(value) for name, value in metrics.items()},
            "layers": layers,
        }
        typer.echo(json.dumps(document, indent=2))
        return
    table = Table(*(heading(name.rpartition(".")[2]) for name in metrics))
    table.add_row(*(figure(_known(value)) for value in metrics.values()))
    out.print(table)
    for platform in platforms:
        parts = platform.breakdown(workload.shape, design)
        columns = list(dict.fromkeys(key for part in parts for key in part))
        detail = Table(title=f"{platform.name}, by layer", title_justify="left")
        for column in columns:
            detail.add_column(column, overflow="fold", justify="right")
        for part in parts:
            cells = (part.get(key, "") for key in columns)
            detail.add_row(*(c if isinstance(c, str) else figure(c) for c in cells))
        out.print(detail)


def _known(value: float) -> float | None:
    """Return None for what a platform could not tell, which is not a number."""
    return None if math.isnan(value) else value
