"""`dse`: the command line."""

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer

from api.commands.database import database
from api.commands.design import cost, evaluate
from api.commands.listing import knobs, platforms, workloads
from api.commands.report import report
from api.commands.run import run
from api.console import err
from dse.errors import DseError, Interrupted, SpecError, UnknownNameError

app = typer.Typer(
    name="dse",
    help="Search how a quantized neural network runs best on an accelerator.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (run, cost, evaluate, workloads, platforms, knobs, report):
    app.command()(command)
app.add_typer(database, name="db")

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


def main() -> None:
    """Run the command line and exit: 0 well, 1 failed, 2 wrong usage, 130 interrupted."""
    # kill and Ctrl-C leave by the same door: leases released, child processes ended
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except (SpecError, UnknownNameError) as error:
        _fail(str(error), USAGE)
    except Interrupted as error:
        _fail(str(error), INTERRUPTED)
    except DseError as error:
        _fail(str(error), FAILURE)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    err.print(f"dse: {message}", markup=False, soft_wrap=True)
    sys.exit(code)
