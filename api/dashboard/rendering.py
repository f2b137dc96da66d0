"""Pages from templates; every text that a user chose is escaped."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from api.errors import Problem
from api.marks import CONFIG
from api.tables import metric_plain, metric_value, number

PLOTLY_VERSION: Final = version("plotly")
STATIC: Final = Path(__file__).parent / "static"

_HASHES: Final = (
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",  # nothing: plotly's empty element
    "'sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o='",  # plotly.js 4.1.1, of plotly 7.1.0
)
# Without the hashes plotly's own rules are refused: the charts look right, but hover is broken.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        f"style-src-elem 'self' {' '.join(_HASHES)}",
        "style-src-attr 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
"""The Content-Security-Policy of every response."""

_NO_PAGES: Final = ("/v1/", "/healthz", "/readyz", "/openapi.json", "/static/")


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks for a page, not a program for data."""
    accepts = request.headers.get("Accept", "")
    return "text/html" in accepts and not request.url.path.startswith(_NO_PAGES)


def page(template: str, *, status: int = 200, **context: object) -> HTMLResponse:
    """Return a page; `context` is what its template asks for."""
    text = _environment().get_template(template).render(context)
    return HTMLResponse(text, status_code=status, headers={"Cache-Control": "no-store"})


def error_page(problem: Problem, *, headers: Mapping[str, str]) -> HTMLResponse:
    """Return the page of a request that failed."""
    response = page("error.html", status=problem.status, problem=problem)
    response.headers.update(headers)
    return response


def stamped(name: str) -> str:
    """Return the URL of a static file; it changes with the file's content."""
    return f"/static/{stamp(name)}/{name}"


@cache
def stamp(name: str) -> str:
    """Return what names the content of a static file."""
    if name == PLOTLY:
        return f"plotly-{PLOTLY_VERSION}"
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:16]


PLOTLY: Final = "plotly.min.js"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("api.dashboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "said": metric_value,
        "number": number,
        "plain": metric_plain,
        "clock": _clock,
    }
    environment.globals |= {
        "static": stamped,
        "plotly_config": json.dumps(CONFIG),
        "plotly_version": PLOTLY_VERSION,
    }
    return environment


def _clock(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
