"""Jobs: submitted, listed, read and deleted."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from sqlalchemy import Connection, Engine

from api.bodies import JSON_TYPE, YAML_TYPES, check_spec, read_body, read_spec
from api.deps import (
    IfMatch,
    IfNoneMatch,
    JobId,
    PageToken,
    ServicesDep,
    etag,
    names_etag,
    refuse_stale,
)
from api.errors import Code, Refusal
from api.paging import make_token, read_token
from api.views import JobDetail, JobView, Page
from dse.errors import SpecError
from storage import control
from storage.engine import reading
from storage.jobs import Idempotency, create_job
from storage.repositories import Job, Jobs, Results
from storage.tables import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_MOST: Final = 200
_SPEC: Final = {"schema": {"$ref": "#/components/schemas/JobSpec"}}
_EXAMPLE: Final = {
    "name": "quick speech on bitfusion",
    "workload": {"name": "sru-phones"},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 4, 8]}, {"knob": "a_bits", "choices": [4, 8]}],
    "objectives": ["error", "speedup"],
    "search": {"population": 16, "offspring": 8, "generations": 8},
}
ETAG: Final = {"ETag": {"schema": {"type": "string"}, "description": "the job's version"}}
QUEUED: Final = {
    **ETAG,
    "Location": {"schema": {"type": "string"}, "description": "of the job"},
    "Retry-After": {"schema": {"type": "integer"}, "description": "seconds until a look is due"},
    "Idempotency-Replayed": {
        "schema": {"const": "true"},
        "description": "this key had made the job before",
    },
}
NO_JOB: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No such job"}}
REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    **NO_JOB,
    409: {"description": "The job's state forbids it; `detail` names it and those that allow it"},
    412: {"description": "The job is not at the version that If-Match names"},
    422: {"description": "A field is wrong"},
}
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="names this request: sent again within 24 hours, it gives the same job",
    ),
]


def view(connection: Connection, job: Job) -> JobView:
    """Return a job as REST lists it."""
    return JobView(**_facts(connection, job))


def detail(connection: Connection, job: Job) -> JobDetail:
    """Return a job with its spec."""
    return JobDetail(**_facts(connection, job), spec=dict(job.spec))


def _facts(connection: Connection, job: Job) -> dict[str, Any]:  # by fields of `JobView`
    results = Results(connection)
    counts, volumes = results.counts(job.id), results.hypervolumes(job.id)
    return {
        **{name: getattr(job, name) for name in _SAME},
        "generations": job.spec["search"]["generations"],
        "designs": counts.designs,
        "networks_run": counts.measured,
        "front_size": counts.front,
        "hypervolume": volumes[-1] if volumes else None,
    }


_SAME: Final = tuple(name for name in JobView.model_fields if name in Job.__dataclass_fields__)


@router.post(
    "",
    operation_id="submitJob",
    summary="Submit a job",
    status_code=202,
    response_model=JobView,
    responses={
        202: {"description": "The job is queued", "headers": QUEUED},
        415: {"description": "The body is neither JSON nor YAML"},
        422: {"description": "The spec does not hold, or the key stands for another request"},
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                JSON_TYPE: {**_SPEC, "example": _EXAMPLE},
                **{kind: _SPEC for kind in YAML_TYPES},
            },
        }
    },
)
def submit_job(
    request: Request,
    response: Response,
    services: ServicesDep,
    body: Annotated[bytes, Depends(read_body)],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    spec = read_spec(body, request.headers.get("Content-Type"))
    check_spec(spec, services.catalogue)
    key = request_key(idempotency_key, "submit", body)
    return queued(
        response, services.engine, lambda: create_job(services.engine, spec, idempotency_key=key)
    )


@router.get("", operation_id="listJobs", summary="List jobs, the youngest first")
def list_jobs(
    services: ServicesDep,
    state: Annotated[JobState | None, Query(description="only jobs in this state")] = None,
    page_size: Annotated[
        int, Query(ge=1, description=f"jobs a page; above {_MOST} counts as {_MOST}")
    ] = 50,
    page_token: PageToken = None,
) -> Page[JobView]:
    with reading(services.engine) as connection:
        return jobs_page(connection, state=state, page_size=page_size, token=page_token)


def jobs_page(
    connection: Connection, *, state: JobState | None, page_size: int, token: str | None
) -> Page[JobView]:
    """Return a page of jobs, the youngest first."""
    filters, size = {"list": "jobs", "state": state}, min(page_size, _MOST)
    position = read_token(token, filters, (str,))
    before = None if position is None else str(position[0])
    found = Jobs(connection).page(size + 1, before=before, state=state)
    items = [view(connection, job) for job in found[:size]]
    more = len(found) > size
    return Page(
        items=items, next_page_token=make_token((items[-1].id,), filters) if more else None
    )


@router.get(
    "/{job_id}",
    operation_id="getJob",
    summary="Get a job with its spec",
    response_model=JobDetail,
    responses={
        **NO_JOB,
        200: {"description": "The job", "headers": ETAG},
        304: {"description": "It is as you know it"},
    },
)
def get_job(
    response: Response, services: ServicesDep, job_id: JobId, if_none_match: IfNoneMatch = None
) -> JobDetail | Response:
    with reading(services.engine) as connection:
        job = Jobs(connection).get(job_id)
        headers = {"ETag": etag(job), "Cache-Control": "no-cache"}
        if names_etag(if_none_match, etag(job)):
            return Response(status_code=304, headers=headers)
        response.headers.update(headers)
        return detail(connection, job)


@router.delete(
    "/{job_id}",
    operation_id="deleteJob",
    summary="Delete a job that is not running, and all that it found",
    status_code=204,
    responses={**REFUSED, 204: {"description": "It is gone"}},
)
def delete_job(services: ServicesDep, job_id: JobId, if_match: IfMatch = None) -> None:
    refuse_outdated(services.engine, job_id, if_match)
    control.delete_job(services.engine, job_id)


def request_key(key: str | None, action: str, body: bytes) -> Idempotency | None:
    """Return what an Idempotency-Key stands for; the same key names one action and body."""
    if key is None:
        return None
    return Idempotency(
        key=key, body_hash=hashlib.sha256(action.encode() + b"\0" + body).hexdigest()
    )


def queued(response: Response, engine: Engine, create: Callable[[], str]) -> JobView:
    """Answer a request that made a job, or had made it before."""
    arrived = datetime.now(UTC)
    try:
        job_id = create()
    except SpecError as error:  # the spec itself has been checked
        raise Refusal(Code.IDEMPOTENCY_MISMATCH, str(error)) from error
    with reading(engine) as connection:
        job = Jobs(connection).get(job_id)
    response.headers.update({"Location": f"/v1/jobs/{job_id}", "Retry-After": "1"})
    if job.created_at < arrived:
        response.headers["Idempotency-Replayed"] = "true"
    return acted(response, engine, job)


def acted(response: Response, engine: Engine, job: Job) -> JobView:
    """Answer with a job as it stands."""
    response.headers["ETag"] = etag(job)
    with reading(engine) as connection:
        return view(connection, job)


def refuse_outdated(engine: Engine, job_id: str, if_match: str | None) -> None:
    """Raise when an If-Match header names another version of a job than the present one."""
    if if_match is not None:
        with reading(engine) as connection:
            refuse_stale(Jobs(connection).get(job_id), if_match)
