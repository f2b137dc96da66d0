"""`dse serve` and `dse worker`: the service on this machine."""

import asyncio
import logging
import signal
from contextlib import suppress
from typing import Annotated

import typer

from api import bootstrap
from api.app import create_app
from api.console import err
from api.serving import listen, make_server, run
from api.settings import read_settings
from api.supervision import Supervisor
from api.worker import Worker
from dse.errors import Interrupted
from evaluators.pools.lifeline import die_with

Slots = Annotated[
    int | None, typer.Option(min=1, help="evaluation processes of a job; one a core if left out")
]


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="port; 0: a free one")] = 8000,
    host: Annotated[str, typer.Option(help="loopback address to listen on")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=0, help="workers beside the service")] = 1,
    slots: Slots = None,
) -> None:
    """Serve the API and the pages, with a worker beside them; Ctrl-C releases the job in hand.

    \b
    dse serve
    dse serve --port 8080 --workers 0
    """
    listener = listen(host, port)
    _log()
    settings = read_settings()
    with bootstrap.database(settings, patient=True) as engine:
        supervisor = Supervisor(engine, count=workers, slots=slots)
        supervisor.start()
        try:
            app = create_app(settings, engine)
            address, taken = listener.getsockname()[:2]
            err.print(f"serving http://{address}:{taken}", markup=False)
            asyncio.run(run(app, make_server(app), listener))
        except KeyboardInterrupt:
            err.print("stopping", markup=False)
        finally:
            supervisor.stop()


def worker(
    slots: Slots = None,
    until_idle: Annotated[bool, typer.Option(help="end when the queue is empty")] = False,
    child_of: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Drive queued jobs, one after another, until stopped; start as many as you like.

    \b
    dse worker
    dse worker --slots 4 --until-idle
    """
    if child_of is not None:
        die_with(child_of, by=signal.SIGTERM)
    _log()
    settings = read_settings()
    with bootstrap.database(settings, patient=True) as engine:
        catalogue = bootstrap.catalogue(settings)
        with suppress(KeyboardInterrupt, Interrupted):
            Worker(engine, settings, catalogue, slots=slots).run(until_idle=until_idle)


def _log() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", force=True
    )
    for chatty in ("alembic", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
