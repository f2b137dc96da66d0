"""The OpenAPI description: `python -m api.openapi` renews the stored copy."""

import json
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.routing import compile_path

from api.errors import MEDIA_TYPE, Problem
from dse.spec import JobSpec

STORED: Final = Path(__file__).parents[1] / "docs" / "openapi.json"

_REFERENCE: Final = "#/components/schemas/{model}"
_ALWAYS: Final = {"400": "Not for this host", "500": "The service failed"}
_CHANGING: Final = {"403": "Sent by a page of another site", "413": "More than 1 MB"}
_STORED: Final = {"503": "The database cannot be had"}
Json = dict[str, Any]  # an OpenAPI document is JSON


def describe(app: FastAPI) -> None:
    """Have an application describe itself with problems as its errors, and the job spec."""

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _description(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


def methods_at(app: FastAPI, path: str) -> list[str]:
    """Return the methods that an application's description allows at a path."""
    paths = app.openapi()["paths"]
    found = [template for template in paths if compile_path(template)[0].match(path)]
    # The longest says most: …/{job_id}:cancel also looks like …/{job_id}.
    return sorted(map(str.upper, paths[max(found, key=len)])) if found else []


def text(app: FastAPI) -> str:
    """Return the description as it is stored."""
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


def _description(app: FastAPI) -> Json:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        routes=app.routes,
        tags=[{"name": name, "description": told} for name, told in _TAGS.items()],
    )
    schemas = document["components"]["schemas"]
    for model in (JobSpec, Problem):
        schema = model.model_json_schema(ref_template=_REFERENCE)
        schemas |= schema.pop("$defs", {})
        schemas[model.__name__] = schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            _describe_errors(path, method, operation)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def _describe_errors(path: str, method: str, operation: Json) -> None:
    responses: dict[str, Json] = operation["responses"]
    told = {**_ALWAYS, **(_CHANGING if method != "get" else {})}
    told |= _STORED if path.startswith("/v1/jobs") else {}
    for status, description in told.items():
        responses.setdefault(status, {"description": description})
    for status, response in responses.items():
        if status >= "400":
            reference = {"$ref": _REFERENCE.format(model=Problem.__name__)}
            response["content"] = {MEDIA_TYPE: {"schema": reference}}
        marks = {"X-Request-Id": {"schema": {"type": "string"}, "description": "of this request"}}
        response["headers"] = {**marks, **response.get("headers", {})}
    operation["responses"] = dict(sorted(responses.items()))


_TAGS: Final = {
    "jobs": "Searches and their lives.",
    "results": "What jobs have found.",
    "catalogue": "What exists to be searched.",
    "service": "How the service is.",
}


def main() -> None:
    """Renew the stored copy."""
    from api.app import create_app
    from api.settings import Settings

    app = create_app(Settings(home=Path(), database_url="sqlite:///unused.db"))
    STORED.write_text(text(app), encoding="utf-8")


if __name__ == "__main__":
    main()
