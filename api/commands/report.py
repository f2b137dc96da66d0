"""`dse report`: a finished or running job as one offline HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from api import bootstrap
from api.commands.options import Plugins
from api.console import out
from api.files import check_target
from api.report import write_report
from api.settings import read_settings


def report(
    job: Annotated[
        str, typer.Argument(help="a job's id or its beginning, or `latest`")
    ] = "latest",
    file: Annotated[Path, typer.Option("--out", help="the HTML file to write")] = Path(
        "report.html"
    ),
    plugin: Plugins = [],  # noqa: B006
) -> None:
    """Write a job's front, figures and tables into one HTML file that needs no network.

    \b
    dse report latest --out report.html
    """
    check_target(file)
    write_report(bootstrap.document(read_settings(plugins=plugin), job), file)
    out.print(f"wrote {file}", markup=False)
