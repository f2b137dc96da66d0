"""`dse`: the command line."""

import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from dse.errors import DseError, Interrupted, SpecError, UnknownNameError

if TYPE_CHECKING:
    import typer

USAGE, FAILURE, INTERRUPTED = 2, 1, 130


def main() -> None:
    """Run the command line and exit: 0 well, 1 failed, 2 wrong usage, 130 interrupted."""
    # kill and Ctrl-C leave by the same door: leases released, child processes ended
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        make_app()()
    except (SpecError, UnknownNameError) as error:
        _fail(str(error), USAGE)
    except Interrupted as error:
        _fail(str(error), INTERRUPTED)
    except KeyboardInterrupt:
        _fail_interrupted()
    except SystemExit as end:
        # what typer makes of a KeyboardInterrupt
        if end.code == INTERRUPTED:
            _fail_interrupted()
        raise
    except DseError as error:
        _fail(str(error), FAILURE)


def make_app() -> "typer.Typer":
    """Return the commands. They are imported here, under `main`'s handlers: it takes a second,
    in which Ctrl-C must not end in a traceback."""
    import typer

    from api.commands.beacons import beacons
    from api.commands.database import database
    from api.commands.design import cost, evaluate
    from api.commands.export import export
    from api.commands.jobs import cancel, extend, front, jobs, pause, resume, submit, watch
    from api.commands.listing import knobs
    from api.commands.platforms import platforms
    from api.commands.report import report
    from api.commands.run import run
    from api.commands.serve import serve, worker
    from api.commands.workloads import workloads

    app = typer.Typer(
        name="dse",
        help="Search how a quantized neural network runs best on an accelerator.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    local = (run, serve, worker, cost, evaluate, export, knobs, report)
    remote = (submit, watch, front, beacons, jobs, cancel, pause, resume, extend)
    for command in (*local, *remote):
        app.command()(command)
    app.add_typer(workloads, name="workloads")
    app.add_typer(platforms, name="platforms")
    app.add_typer(database, name="db")
    return app


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail_interrupted() -> NoReturn:
    _fail("interrupted; what is stored stays: give the same command again", INTERRUPTED)


def _fail(message: str, code: int) -> NoReturn:
    if sys.stderr is not None:  # closed by the caller
        print(f"dse: {message}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
