"""`dse beacons`: the retrained designs of a job, and their weights."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.commands.jobs import LATEST, AsJson, Name, Server, find_job
from api.console import figure, out
from api.files import check_target
from api.tables import widths
from dse.client import Beacon, Client, Job
from dse.errors import SpecError


def beacons(
    job: Name = LATEST,
    server: Server = None,
    as_json: AsJson = False,
    download: Annotated[
        int | None, typer.Option(min=1, help="write the weights of this beacon to --output")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="a safetensors file; left out: beacon-N.safetensors")
    ] = None,
) -> None:
    """List a job's beacons: designs that were retrained, and what their weights did for others.

    \b
    dse beacons latest
    dse beacons latest --download 1 --output beacon.safetensors
    """
    if output is not None and download is None:
        raise SpecError("--output needs --download N, the number of a beacon")
    if as_json and download is not None:
        raise SpecError("--json and --download exclude each other")
    with Client(server) as client:
        found = find_job(client, job)
        if download is not None:
            _download(found, download, output or Path(f"beacon-{download}.safetensors"))
            return
        shown = found.beacons()
    if as_json:
        items = [beacon.model_dump(mode="json") for beacon in shown]
        typer.echo(json.dumps({"items": items}, indent=2))
        return
    table = Table(*_COLUMNS, title=f"beacons of job {found.id}", title_justify="left")
    for beacon in shown:
        table.add_row(*(cell.replace("[", r"\[") for cell in _cells(beacon)))
    out.print(table)


_COLUMNS = (
    *("beacon", "state", "generation", r"error before \[%]", r"error after \[%]"),
    *(
        "served",
        r"mean gain \[points]",
        "by layer: bits of weights / activations / others",
        "sha256",
    ),
    "reason",
)


def _cells(beacon: Beacon) -> tuple[str, ...]:
    return (
        str(beacon.number),
        beacon.state,
        str(beacon.generation),
        figure(beacon.base_error),
        figure(beacon.error),
        str(beacon.served),
        figure(beacon.mean_gain),
        widths(beacon.model_dump()),
        (beacon.sha256 or "-")[:10],
        beacon.reason or "-",
    )


def _download(job: Job, number: int, path: Path) -> None:
    check_target(path)
    out.print(f"wrote {job.download_beacon(number, path)}", markup=False, soft_wrap=True)
