"""The pages: the list of jobs, a job with its front, and the files they load."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException

from api.dashboard.rendering import PLOTLY, STATIC, page, stamp
from api.deps import JobId, PageToken, ServicesDep
from api.documents import Document, Json
from api.report import exhibits
from api.routes.jobs import detail, jobs_page
from api.tables import Table
from api.views import JobView
from storage.engine import reading
from storage.repositories import Jobs
from storage.tables import JobState

router = APIRouter()

_JOBS_A_PAGE: Final = 50
_ROWS: Final = 500
_PLOTLY_FILE: Final = Path(str(files("plotly") / "package_data" / PLOTLY))
_FILES: Final = {
    PLOTLY: (_PLOTLY_FILE, "text/javascript"),
    "page.css": (STATIC / "page.css", "text/css"),
    "page.mjs": (STATIC / "page.mjs", "text/javascript"),
    "icon.svg": (STATIC / "icon.svg", "image/svg+xml"),
}
_FOR_GOOD: Final = {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table as a page shows it.

    Attributes:
        left_out: rows that are not shown.
    """

    title: str
    table: Table
    left_out: int


@router.get("/")
def jobs(
    services: ServicesDep,
    state: Annotated[JobState | None, Query()] = None,
    page_token: PageToken = None,
) -> Response:
    with reading(services.engine) as connection:
        listed = jobs_page(connection, state=state, page_size=_JOBS_A_PAGE, token=page_token)
    return page(
        "jobs.html", jobs=listed, state=state, states=tuple(JobState), first=not page_token
    )


@router.get("/jobs/{job_id}")
def job(services: ServicesDep, job_id: JobId) -> Response:
    with reading(services.engine) as connection:
        stored = Jobs(connection).get(job_id)
        shown = detail(connection, stored)
    document = services.documents.get(job_id)
    return page(
        "job.html",
        job=shown,
        document=document,
        headlines=_headlines(shown, document),
        exhibits=exhibits(document),
        grids=_grids,
        seq=stored.event_seq,
        moving=shown.state in (JobState.READY, JobState.LEASED),
        spec_json=json.dumps(shown.spec, indent=2, ensure_ascii=False),
    )


@router.get("/static/{stamped}/{name}")
def static(stamped: str, name: str) -> Response:
    if name not in _FILES or stamped != stamp(name):
        raise HTTPException(404, f"no file {name!r:.80} of that version")
    path, media_type = _FILES[name]
    return FileResponse(path, media_type=media_type, headers=_FOR_GOOD)


def _grids(tables: dict[str, Table]) -> list[Grid]:
    """Cut long tables to their last rows, which are the youngest."""
    return [
        Grid(
            title=title,
            table=Table(table.columns, table.rows[-_ROWS:]),
            left_out=max(0, len(table.rows) - _ROWS),
        )
        for title, table in tables.items()
    ]


def _headlines(job: JobView, document: Document) -> list[tuple[str, str]]:
    """Return (figure, caption) pairs for the head of a job's page."""
    found = [
        (f"{job.generation + 1} of {job.generations}", "generations finished"),
        (str(job.front_size), "designs on the front"),
        (str(job.networks_run), "networks run"),
        (str(job.designs), "designs proposed"),
    ]
    level = _baseline_volume(document["job"])
    if level and job.hypervolume is not None:
        found.append((f"{job.hypervolume / level:.2f}×", "hypervolume of the baselines together"))
    return found


def _baseline_volume(facts: Json) -> float:
    return float(facts["baseline_hypervolume"])
