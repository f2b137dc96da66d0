"""The server as the client sees it: paths in, JSON out, errors raised, retries made."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar, final
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from dse.client.errors import ServerError, UnreachableError, status_error
from dse.client.models import Json, Problem
from dse.client.retries import RETRIED_STATUSES, Timing
from dse.errors import SpecError
from dse.spec import explain

IDEMPOTENCY_KEY = "Idempotency-Key"

_REPEATABLE = frozenset({"GET", "DELETE"})
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Params = Mapping[str, str | int | bool | None]
Model = TypeVar("Model", bound=BaseModel)


@final
class Server:
    """Requests to one server. Safe to share between threads.

    Attributes:
        timing: the clock of its retries.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: float,
        retries: int,
        transport: httpx.BaseTransport | None,
        timing: Timing,
    ) -> None:
        url = _checked(base_url)
        self.timing = timing
        self._retries = retries
        self._timeout = timeout
        self._http = httpx.Client(
            base_url=url,
            timeout=timeout,
            transport=transport,
            # no proxy can reach this machine's own loopback
            trust_env=url.host not in _LOOPBACK,
            headers={"Accept": "application/json"},
        )

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, params: Params | None = None) -> Json:
        """Return a JSON object; errors as `send`."""
        return self._object(self.send("GET", path, params=params))

    def post(self, path: str, body: object = None, *, timeout: float | None = None) -> Json:
        """Ask for something that may be asked for twice; arguments and errors as `send`."""
        answer = self.send("POST", path, body=body, repeatable=True, timeout=timeout)
        return self._object(answer)

    def create(self, path: str, body: object, *, idempotency_key: str | None = None) -> Json:
        """Have something made, once however often this must be sent; errors as `send`.

        Args:
            idempotency_key: left out, this call has its own.
        """
        key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
        if not (0 < len(key) <= 200 and key.isascii() and key.isprintable()):
            raise SpecError(
                f"idempotency_key must be 1 to 200 printable ASCII characters, got {key!r:.80}"
            )
        headers = {IDEMPOTENCY_KEY: key}
        return self._object(self.send("POST", path, body=body, headers=headers))

    def items(self, path: str, params: Params | None = None) -> Iterator[Json]:
        """Return the items of every page of a list, each page read when it is needed."""
        asked = dict(params or {})
        while True:
            page = self.get(path, asked)
            items = page.get("items")
            if not isinstance(items, list):
                raise self._foreign(f"{path} has no items")
            yield from items
            asked["page_token"] = page.get("next_page_token")
            if asked["page_token"] is None:
                return

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: object = None,
        repeatable: bool = False,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> httpx.Response:
        """Send a request, again if it is safe to repeat and the answer may become better.

        Args:
            repeatable: whether a POST may be sent twice; one with an Idempotency-Key always may.
            timeout: seconds that the answer may take; None: as long as any.

        Raises:
            ClientError: as the tree in `dse.client.errors` says.
        """
        request = self._http.build_request(
            method,
            path,
            params=_told(params),
            json=body,
            headers=headers,
            timeout=httpx.Timeout(self._timeout, read=timeout or self._timeout),
        )
        repeatable = repeatable or method in _REPEATABLE or IDEMPOTENCY_KEY in request.headers
        for failures in range(1, self._retries + 2):
            response = error = None
            try:
                response = self._http.send(request)
            except httpx.RequestError as broken:
                error = self._unreachable(broken)
                error.__cause__ = broken
            else:
                if response.status_code not in RETRIED_STATUSES:
                    return _good(response)
            pause = self.timing.pause(failures, response)
            if not repeatable or failures > self._retries or pause is None:
                break
            self.timing.sleep(pause)
        if error is not None:
            raise error
        assert response is not None
        return _good(response)

    @contextmanager
    def stream(
        self, path: str, *, headers: Mapping[str, str], silence_s: float
    ) -> Iterator[Iterator[bytes]]:
        """Open a stream of events and give its bytes as they come; one try.

        Args:
            silence_s: after so many seconds without a byte the connection counts as broken.

        Raises:
            UnreachableError: also while the answer is read.
        """
        timeout = httpx.Timeout(self._timeout, read=silence_s)
        try:
            with self._http.stream("GET", path, headers=headers, timeout=timeout) as response:
                if not response.is_success:
                    response.read()
                kind = _good(response).headers.get("Content-Type", "")
                if not kind.startswith("text/event-stream"):
                    raise self._foreign(f"{path} streams {kind or 'nothing'}")
                yield response.iter_bytes()
        except httpx.RequestError as broken:
            raise self._unreachable(broken) from broken

    def read(self, model: type[Model], data: object) -> Model:
        """Return what the server sent as a model."""
        try:
            return model.model_validate(data)
        except ValidationError as error:
            raise self._foreign(f"not a {model.__name__}:\n{explain(error)}") from error

    def parse(self, model: type[Model], text: str) -> Model:
        """Return what the server sent as JSON text as a model."""
        try:
            return model.model_validate_json(text)
        except ValidationError as error:
            raise self._foreign(f"not a {model.__name__}:\n{explain(error)}") from error

    def _object(self, response: httpx.Response) -> Json:
        try:
            data: Any = response.json()  # whatever was sent
        except ValueError as error:
            raise self._foreign("not JSON") from error
        if not isinstance(data, dict):
            raise self._foreign("no JSON object")
        return data

    def _foreign(self, what: str) -> ServerError:
        return ServerError(
            f"{self._http.base_url} answers, but not as beacon-dse does: {what}; "
            "is it another service, or another version?"
        )

    def _unreachable(self, error: httpx.RequestError) -> UnreachableError:
        url = self._http.base_url
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            hint = ": start it with `dse serve`" if url.host in _LOOPBACK else ""
            return UnreachableError(f"cannot reach a server at {url} ({error}){hint}")
        why = "no answer in time" if isinstance(error, httpx.TimeoutException) else str(error)
        return UnreachableError(f"the connection to {url} broke off: {why}")


def quoted(name: str) -> str:
    """Return a name as one part of a path."""
    if not name or name in (".", ".."):
        raise SpecError(f"a job's id must be its name on the server, got {name!r}")
    return quote(name, safe="")


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise SpecError(f"the server's address must be a URL, got {base_url!r}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise SpecError(
            f"the server's address must begin with http:// or https://, got {base_url!r}"
        )
    return url


def _told(params: Params | None) -> dict[str, str | int | bool]:
    return {name: value for name, value in (params or {}).items() if value is not None}


def _good(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    problem = _problem(response)
    request_id: str | None = response.headers.get("X-Request-Id")
    raise status_error(response.status_code, problem, request_id)


def _problem(response: httpx.Response) -> Problem | None:
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return None
