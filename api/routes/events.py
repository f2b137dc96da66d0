"""A job's events: live, or a page at a time."""

from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from api.deps import JobId, PageToken, Services, ServicesDep
from api.errors import Code, FieldError, Refusal
from api.paging import make_token, read_token
from api.views import EventView, Page
from storage.engine import reading
from storage.repositories import Jobs, Results

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

STREAM: Final = "text/event-stream"
_HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_MOST: Final = 1000
_LARGEST: Final = 2**31 - 1


@router.get(
    "/events",
    operation_id="listEvents",
    summary="List a job's events, or with Accept: text/event-stream follow them",
    description="The stream replays what is behind Last-Event-ID (or `after`), goes on live and "
    "ends with the event that puts the job to rest.",
    response_model=Page[EventView],
    responses={
        200: {
            "description": "The events",
            "content": {STREAM: {"schema": {"type": "string"}}},
        },
        404: {"description": "No such job"},
    },
)
async def list_events(
    request: Request,
    services: ServicesDep,
    job_id: JobId,
    after: Annotated[
        int, Query(ge=0, le=_LARGEST, description="only events behind this number")
    ] = 0,
    page_size: Annotated[
        int, Query(ge=1, description=f"items a page; above {_MOST} counts as {_MOST}")
    ] = 200,
    page_token: PageToken = None,
    last_event_id: Annotated[
        str | None, Header(description="of a stream that broke off; goes before `after`")
    ] = None,
) -> Page[EventView] | Response:
    if STREAM not in request.headers.get("Accept", ""):
        return await run_in_threadpool(_page, services, job_id, after, page_size, page_token)
    start = after if last_event_id is None else _seq(last_event_id)
    frames = await services.hub.follow(job_id, start)
    return StreamingResponse(frames, media_type=STREAM, headers=_HEADERS)


def _page(
    services: Services, job_id: str, after: int, page_size: int, token: str | None
) -> Page[EventView]:
    filters, size = {"list": "events", "job": job_id, "after": after}, min(page_size, _MOST)
    position = read_token(token, filters, (int,))
    start = after if position is None else int(position[0])
    with reading(services.engine) as connection:
        Jobs(connection).latest_seq(job_id)
        found = Results(connection).events(job_id, after=start, limit=size + 1)
    items = [EventView.model_validate(event) for event in found[:size]]
    more = len(found) > size
    return Page(
        items=items, next_page_token=make_token((items[-1].seq,), filters) if more else None
    )


def _seq(last_event_id: str) -> int:
    if last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 10:
        return int(last_event_id)
    detail = f"Last-Event-ID must be the number of an event, got {last_event_id!r:.50}"
    wrong = FieldError(pointer="#header/last-event-id", detail=detail)
    raise Refusal(Code.INVALID_REQUEST, detail, status=422, errors=(wrong,))
