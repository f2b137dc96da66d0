"""`dse export`: a design of a job with its integer weights, as files."""

from pathlib import Path
from typing import Annotated

import typer

from api import exports
from api.commands.options import Plugins
from api.console import Bars, out
from api.exports import MANIFEST, TENSORS
from api.files import check_target, write_bytes
from api.settings import read_settings

_SHORT = 12


def export(
    job: Annotated[str, typer.Argument(help="a job's id or its beginning, or `latest`")],
    design: Annotated[
        str, typer.Option("--design", help="hash (or its beginning) of a measured design")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="the files' name without ending; design-HASH if left out"),
    ] = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Write a design's integer weights, scales and zero points: NAME.safetensors and NAME.json.

    \b
    dse export latest --design 3fa94c --output tagger
    dse evaluate --export tagger.json --split test
    """
    settings = read_settings(plugins=plugin)
    found = exports.find_measured(settings, job, design)
    name = output or Path(f"design-{found.evaluation.design.hash[:_SHORT]}")
    if name.suffix in (MANIFEST, TENSORS):
        name = name.with_suffix("")
    manifest, tensors = (name.with_name(f"{name.name}{end}") for end in (MANIFEST, TENSORS))
    for file in (manifest, tensors):
        check_target(file)
    with Bars() as bars:
        files = exports.export(settings, found, bars)
    write_bytes(tensors, files.tensors)
    write_bytes(manifest, files.manifest)
    out.print(f"wrote {manifest} and {tensors}", markup=False)
