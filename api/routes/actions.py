"""What is asked of jobs: stop, go on, run longer, once more."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Response
from sqlalchemy import Engine

from api.bodies import changed_spec, check_spec
from api.deps import IfMatch, JobId, ServicesDep
from api.errors import Code, FieldError, Refusal
from api.routes.jobs import (
    ETAG,
    NO_JOB,
    QUEUED,
    REFUSED,
    IdempotencyKey,
    acted,
    queued,
    refuse_outdated,
    request_key,
)
from api.views import Changes, Extension, JobView
from dse.errors import SpecError
from dse.spec import JobSpec
from storage import control
from storage.engine import reading
from storage.jobs import Idempotency, clone_job, create_job
from storage.repositories import Jobs

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_ACTED: Final[dict[int | str, dict[str, Any]]] = {
    **REFUSED,
    200: {"description": "The job as it stands", "headers": ETAG},
}
_UNCHANGED: Final = Changes()


@router.post(
    "/{job_id}:cancel",
    operation_id="cancelJob",
    summary="Cancel a job; what it found stays",
    response_model=JobView,
    responses=_ACTED,
)
def cancel_job(
    response: Response, services: ServicesDep, job_id: JobId, if_match: IfMatch = None
) -> JobView:
    refuse_outdated(services.engine, job_id, if_match)
    return acted(response, services.engine, control.request_cancel(services.engine, job_id))


@router.post(
    "/{job_id}:pause",
    operation_id="pauseJob",
    summary="Pause a job until it is resumed",
    response_model=JobView,
    responses=_ACTED,
)
def pause_job(
    response: Response, services: ServicesDep, job_id: JobId, if_match: IfMatch = None
) -> JobView:
    refuse_outdated(services.engine, job_id, if_match)
    return acted(response, services.engine, control.request_pause(services.engine, job_id))


@router.post(
    "/{job_id}:resume",
    operation_id="resumeJob",
    summary="Go on with a job that was paused, cancelled or failed",
    response_model=JobView,
    responses=_ACTED,
)
def resume_job(
    response: Response, services: ServicesDep, job_id: JobId, if_match: IfMatch = None
) -> JobView:
    refuse_outdated(services.engine, job_id, if_match)
    return acted(response, services.engine, control.resume_job(services.engine, job_id))


@router.post(
    "/{job_id}:extend",
    operation_id="extendJob",
    summary="Have a job run for more generations",
    response_model=JobView,
    responses=_ACTED,
)
def extend_job(
    response: Response,
    services: ServicesDep,
    job_id: JobId,
    body: Extension,
    if_match: IfMatch = None,
) -> JobView:
    refuse_outdated(services.engine, job_id, if_match)
    try:
        job = control.extend_job(services.engine, job_id, generations=body.generations)
    except SpecError as error:
        wrong = FieldError(pointer="/generations", detail=str(error))
        raise Refusal(Code.INVALID_SPEC, str(error), errors=(wrong,)) from error
    return acted(response, services.engine, job)


@router.post(
    "/{job_id}:clone",
    operation_id="cloneJob",
    summary="Submit a copy of a job, with some fields changed if you like",
    status_code=202,
    response_model=JobView,
    responses={
        **NO_JOB,
        202: {"description": "The copy is queued", "headers": QUEUED},
        422: {"description": "The changed spec does not hold"},
    },
)
def copy_job(
    response: Response,
    services: ServicesDep,
    job_id: JobId,
    body: Annotated[Changes, Body()] = _UNCHANGED,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    with reading(services.engine) as connection:
        spec = Jobs(connection).get(job_id).spec
    changes = body.model_dump(exclude_unset=True, exclude_none=True)
    changed = changed_spec(spec, changes)
    check_spec(changed, services.catalogue)
    key = request_key(idempotency_key, f"clone {job_id}", body.model_dump_json().encode())
    return queued(
        response, services.engine, lambda: _copy(services.engine, job_id, spec, changed, key)
    )


def _copy(
    engine: Engine, job_id: str, spec: object, changed: JobSpec, key: Idempotency | None
) -> str:
    if changed.model_dump(mode="json") == spec:
        return clone_job(engine, job_id, idempotency_key=key).id
    return create_job(engine, changed, idempotency_key=key)
