"""`dse run`: a search from its spec to its front, in this process."""

import json
from pathlib import Path
from typing import Annotated

import typer

from api import bootstrap
from api.commands.options import Plugins
from api.console import Bars, front_table, out
from api.documents import Document
from api.files import check_target, write_text
from api.report import write_report
from api.settings import read_settings
from api.summaries import beacon_summary
from dse.metrics import TEST_PREFIX
from dse.spec import read_spec


def run(
    spec: Annotated[Path, typer.Argument(help="a job spec, YAML or JSON")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the run as one JSON document")
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="write an HTML report that needs no network")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="evaluation processes; one a core if left out")
    ] = None,
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Run a search; run it again after an interruption and it goes on where it was.

    \b
    dse run examples/quick.yaml
    dse run examples/bitfusion.yaml --json run.json --report report.html --processes 2
    dse run my_job.yaml --plugin my_workload.py
    """
    for file in (json_file, report):
        if file is not None:
            check_target(file)
    settings = read_settings(plugins=plugin)
    job_spec = read_spec(spec)
    with Bars() as bars:
        job = bootstrap.run_job(job_spec, settings, processes=processes, progress=bars)
    document = bootstrap.document(settings, job)
    show(document)
    if json_file is not None:
        write_text(json_file, json.dumps(document, indent=1))
        out.print(f"wrote {json_file}", markup=False)
    if report is not None:
        write_report(document, report)
        out.print(f"wrote {report}", markup=False)


def show(document: Document) -> None:
    """Print a run's front beside its baselines."""
    objectives = document["spec"]["objectives"]
    measured = document["job"]["float_metrics"]
    costs = sorted({m for e in document["front"] for m in e["metrics"]} - set(measured))
    columns = [*objectives, *(m for m in (TEST_PREFIX + "error", *costs) if m not in objectives)]
    out.print(front_table("front", document["front"], columns))
    if document["baselines"]:
        out.print(front_table("baselines (feasible)", _feasible(document), columns))
    job = document["job"]
    out.print(
        f"job {job['id']}: {len(document['front'])} designs on the front, "
        f"{job['counts']['networks_run']} distinct designs whose network was run, "
        f"{job['counts']['designs']} proposed",
        markup=False,
    )
    if document["beacons"]:
        out.print(beacon_summary(document), markup=False)
    told = ", ".join(f"{name} {value:.4g}" for name, value in measured.items())
    out.print(f"unquantized network: {told}", markup=False)
    if document["hypervolume"] and job["baseline_hypervolume"]:
        volume, other = document["hypervolume"][-1], job["baseline_hypervolume"]
        told = f"hypervolume {volume:.6g}, baselines together {other:.6g}"
        out.print(f"{told}: {volume / other:.3f} times", markup=False)


def _feasible(document: Document) -> list[dict[str, object]]:
    return [item for item in document["baselines"] if item["feasible"]]
