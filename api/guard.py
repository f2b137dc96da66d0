"""What stands around every request: its id, where it comes from, how large, the last resort."""

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Final, final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.answers import answer
from api.errors import Code, Refusal, too_large
from api.serving import is_loopback
from dse.spec import MAX_BYTES

_log = logging.getLogger(__name__)

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+)(?::\d{1,5})?")


@final
class Envelope:
    """Gives each request an id, each response the id and `headers`, and each failure an answer."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        scope.setdefault("state", {})["request_id"] = request_id
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        except ClientDisconnect:
            return
        except Exception as error:
            if started:
                raise
            _log.exception("request %s failed: %s", request_id, scope["path"])
            response = answer(Request(scope, receive), error)
            await response(scope, receive, send_marked)


def _request_id(headers: Headers) -> str:
    given = headers.get("X-Request-Id", "")
    return given if _SANE_ID.fullmatch(given) else uuid.uuid4().hex


@final
class Guard:
    """Refuses requests under a name that is not this machine's, changes from other sites, and
    what is too large.

    A page on the web may name its own host as 127.0.0.1 (DNS rebinding), or post to this
    service blindly (CSRF); browsers tell both by headers that pages cannot forge.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            for check in _CHECKS:
                refused = check(scope["method"], headers)
                if refused is not None:
                    response = answer(Request(scope, receive), refused)
                    await response(scope, receive, send)
                    return
            receive = _counted(receive)
        await self._app(scope, receive, send)


def _wrong_host(method: str, headers: Headers) -> Refusal | None:
    given = headers.getlist("Host")
    found = _HOST.fullmatch(given[0]) if len(given) == 1 else None
    if found and is_loopback(found[1]):
        return None
    return Refusal(
        Code.INVALID_REQUEST,
        f"Host must be localhost, 127.0.0.1 or [::1], got {', '.join(given) or 'none'}",
    )


def _other_site(method: str, headers: Headers) -> Refusal | None:
    if method in _SAFE_METHODS:
        return None
    site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
    if site not in (None, "same-origin"):
        return _foreign(f"Sec-Fetch-Site must be same-origin or absent, got {site!r:.100}")
    if origin is not None and origin.partition("://")[2] != headers["Host"]:
        return _foreign(f"Origin must be this service or absent, got {origin!r:.100}")
    return None


def _too_large(method: str, headers: Headers) -> Refusal | None:
    length = headers.get("Content-Length", "0")
    if length.isdigit() and int(length[:20]) > MAX_BYTES:
        return too_large()
    return None


def _counted(receive: Receive) -> Receive:
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BYTES:
            # FastAPI lets this kind through, and makes a 400 of any other.
            raise HTTPException(413)
        return message

    return receive_counted


def _foreign(detail: str) -> Refusal:
    return Refusal(Code.INVALID_REQUEST, detail, status=403)


_CHECKS: Final[tuple[Callable[[str, Headers], Refusal | None], ...]] = (
    _wrong_host,
    _other_site,
    _too_large,
)
