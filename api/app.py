"""The application: REST, live events and pages over one database."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from fastapi import FastAPI
from sqlalchemy import Engine

from api import answers, bootstrap
from api.dashboard import pages
from api.dashboard.rendering import POLICY
from api.deps import Services, State
from api.events import Hub
from api.guard import Envelope, Guard
from api.openapi import describe
from api.routes import actions, beacons, catalogue, events, health, jobs, results
from api.run_documents import RunDocuments
from api.settings import Settings
from storage.engine import make_engine, upgrade

_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def create_app(settings: Settings, engine: Engine | None = None) -> FastAPI:
    """Make the application; `api.serving` serves it.

    Args:
        engine: a database whose tables are up to date, which stays open at the end; None: that
            of the settings, upgraded at the start and closed at the end.
    """
    stopping = threading.Event()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        opened = engine or _open(settings)
        shelf = bootstrap.catalogue(settings)
        hub = Hub(opened, stopping)
        services = Services(
            settings=settings,
            engine=opened,
            catalogue=shelf,
            hub=hub,
            documents=RunDocuments(opened, shelf),
        )
        try:
            yield {"services": services}
        finally:
            stopping.set()
            await hub.close()
            if engine is None:
                opened.dispose()

    app = FastAPI(
        title="beacon-dse",
        version=version("beacon-dse"),
        summary="Multi-objective design-space exploration for quantized neural networks",
        lifespan=lifespan,
        docs_url=None,  # those pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"auto_configure": False, "tracing": False, "metrics": False, "logs": False},
    )
    app.state.stopping = stopping
    for routes in (health, jobs, actions, results, beacons, events, catalogue):
        app.include_router(routes.router)
    app.include_router(pages.router, include_in_schema=False)
    answers.add_handlers(app)
    app.add_middleware(Guard)
    app.add_middleware(Envelope, headers=_HEADERS)
    describe(app)
    return app


def _open(settings: Settings) -> Engine:
    engine = make_engine(settings.database_url)
    try:
        upgrade(engine)
    except BaseException:
        engine.dispose()
        raise
    return engine
