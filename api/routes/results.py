"""What jobs have found: front, baselines, evaluations, generations, figures, documents."""

import json
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import Connection

from api.deps import JobId, PageToken, ServicesDep
from api.documents import item
from api.figures import FIGURES
from api.paging import make_token, read_token
from api.recosts import recosts
from api.views import (
    EvaluationView,
    Front,
    GenerationView,
    Page,
    PlatformNamed,
    Recosts,
    RecostView,
)
from dse.design import Evaluation
from dse.errors import UnknownNameError
from dse.ports import Role
from dse.spec import spec_from_data
from storage.engine import reading
from storage.repositories import Jobs, Results

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

_MOST: Final = 1000
_NO_JOB: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No such job"}}
_OBJECT: Final = {"application/json": {"schema": {"type": "object"}}}
PageSize = Annotated[
    int, Query(ge=1, description=f"items a page; above {_MOST} counts as {_MOST}")
]
_PAGE_SIZE: Final = 200


@router.get(
    "/front",
    operation_id="getFront",
    summary="Get the front, by (generation, position)",
    responses={404: {"description": "No such job, or the generation is not finished"}},
)
def get_front(
    services: ServicesDep,
    job_id: JobId,
    generation: Annotated[
        int | None, Query(ge=0, description="as this one left it; otherwise the last finished")
    ] = None,
) -> Front:
    with reading(services.engine) as connection:
        job = Jobs(connection).get(job_id)
        if generation is not None and generation > job.generation:
            finished = [f"0 to {job.generation}"] if job.generation >= 0 else []
            raise UnknownNameError("generation", generation, finished)
        front = Results(connection).front(job_id, generation)
    return Front(items=list(map(_view, front)), objectives=job.spec["objectives"])


@router.post(
    "/front:recost",
    operation_id="recostFront",
    summary="Cost the front on another platform; nothing is stored",
    responses={
        404: {"description": "No such job"},
        422: {"description": "No such platform, or one that cannot be made so"},
    },
)
def recost_front(services: ServicesDep, job_id: JobId, body: PlatformNamed) -> Recosts:
    with reading(services.engine) as connection:
        spec = spec_from_data(Jobs(connection).get(job_id).spec)
        front = Results(connection).front(job_id)
    platform = services.catalogue.platform(body.name, body.params)
    workload = services.catalogue.workload(spec.workload.name, spec.workload.params)
    items = [
        RecostView(
            hash=found.evaluation.design.hash,
            generation=found.evaluation.generation,
            position=found.evaluation.position,
            costs=found.costs,
            reason=found.reason,
        )
        for found in recosts(front, workload, platform)
    ]
    return Recosts(items=items, platform=platform.name)


@router.get(
    "/baselines",
    operation_id="listBaselines",
    summary="List the baselines in the order they were made",
    responses=_NO_JOB,
)
def list_baselines(
    services: ServicesDep,
    job_id: JobId,
    page_size: PageSize = _PAGE_SIZE,
    page_token: PageToken = None,
) -> Page[EvaluationView]:
    with reading(services.engine) as connection:
        return _page(connection, job_id, Role.BASELINE, page_size, page_token)


@router.get(
    "/evaluations",
    operation_id="listEvaluations",
    summary="List the designs of finished generations, by (generation, position)",
    responses=_NO_JOB,
)
def list_evaluations(
    services: ServicesDep,
    job_id: JobId,
    feasible: Annotated[
        bool | None, Query(description="only designs that hold every constraint, or do not")
    ] = None,
    page_size: PageSize = _PAGE_SIZE,
    page_token: PageToken = None,
) -> Page[EvaluationView]:
    with reading(services.engine) as connection:
        return _page(connection, job_id, Role.SEARCH, page_size, page_token, feasible=feasible)


@router.get(
    "/generations",
    operation_id="listGenerations",
    summary="List the finished generations",
    responses=_NO_JOB,
)
def list_generations(
    services: ServicesDep,
    job_id: JobId,
    page_size: PageSize = _PAGE_SIZE,
    page_token: PageToken = None,
) -> Page[GenerationView]:
    filters, size = {"list": "generations", "job": job_id}, min(page_size, _MOST)
    position = read_token(page_token, filters, (int,))
    with reading(services.engine) as connection:
        Jobs(connection).latest_seq(job_id)
        found = Results(connection).generations(job_id)
    start = 0 if position is None else int(position[0]) + 1
    items = [GenerationView.model_validate(row) for row in found[start : start + size]]
    more = start + size < len(found)
    return Page(
        items=items, next_page_token=make_token((items[-1].number,), filters) if more else None
    )


@router.get(
    "/figures/{name}",
    operation_id="getFigure",
    summary="Get a figure as Plotly JSON: data and layout",
    responses={
        200: {"description": "The figure", "content": _OBJECT},
        404: {"description": "No such job or figure"},
    },
    response_class=Response,
)
def get_figure(
    services: ServicesDep,
    job_id: JobId,
    name: Annotated[str, Path(description=f"one of {', '.join(FIGURES)}", examples=["front"])],
) -> Response:
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    figure = FIGURES[name](services.documents.get(job_id))
    return Response(figure.to_json(), media_type="application/json")


@router.get(
    "/document",
    operation_id="getDocument",
    summary="Get the whole run as one document, as `dse run --json` writes it",
    responses={**_NO_JOB, 200: {"description": "The run", "content": _OBJECT}},
    response_class=Response,
)
def get_document(services: ServicesDep, job_id: JobId) -> Response:
    # Validated by nobody: that would take longer than reading it.
    text = json.dumps(services.documents.get(job_id), ensure_ascii=False, allow_nan=False)
    return Response(text, media_type="application/json")


def _page(
    connection: Connection,
    job_id: str,
    role: Role,
    page_size: int,
    token: str | None,
    *,
    feasible: bool | None = None,
) -> Page[EvaluationView]:
    filters = {"list": role, "job": job_id, "feasible": feasible}
    position, size = read_token(token, filters, (int, int)), min(page_size, _MOST)
    after = None if position is None else (int(position[0]), int(position[1]))
    Jobs(connection).latest_seq(job_id)
    found = Results(connection).page(job_id, role, limit=size + 1, after=after, feasible=feasible)
    items = [_view(evaluation) for evaluation in found[:size]]
    more = len(found) > size
    last = found[size - 1] if more else None
    return Page(
        items=items,
        next_page_token=make_token((last.generation, last.position), filters) if last else None,
    )


def _view(evaluation: Evaluation) -> EvaluationView:
    return EvaluationView(position=evaluation.position, **item(evaluation))
