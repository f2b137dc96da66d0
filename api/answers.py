"""Answers to requests that failed: a problem document, or a page to those who asked for one."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.dashboard.rendering import error_page, wants_page
from api.errors import MEDIA_TYPE, Problem, refusal
from api.openapi import methods_at
from dse.errors import DseError


def answer(request: Request, error: Exception) -> Response:
    """Return the response to a request that failed."""
    refused = refusal(error)
    if refused.status == 405:
        # Starlette names the methods of one route, though others may share its path.
        methods = methods_at(request.app, request.scope["path"])
        refused.headers |= {"Allow": ", ".join(methods)} if methods else {}
    problem = Problem(
        type=f"/problems/{refused.code}",
        title=HTTPStatus(refused.status).phrase,
        status=refused.status,
        detail=str(refused),
        instance=request.scope["raw_path"].decode("ascii", "replace"),
        code=refused.code,
        errors=list(refused.errors),
        request_id=request.state.request_id,
    )
    if wants_page(request):
        return error_page(problem, headers=refused.headers)
    return Response(
        problem.model_dump_json(),
        status_code=refused.status,
        headers=refused.headers,
        media_type=MEDIA_TYPE,
    )


def add_handlers(app: FastAPI) -> None:
    """Have every expected error answered; `api.guard.Envelope` answers the others."""
    for kind in (DseError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
