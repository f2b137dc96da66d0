"""What is told of errors: one shape (RFC 9457), a code and a status for each."""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from dse.errors import (
    CacheError,
    ConflictError,
    DseError,
    EvaluationError,
    SpecError,
    StoreError,
    StoreUnavailableError,
    UnknownNameError,
    WeightsError,
)
from dse.spec import MAX_BYTES, complaints

MEDIA_TYPE: Final = "application/problem+json"


class Code(StrEnum):
    """What went wrong, for programs."""

    INVALID_SPEC = "invalid_spec"
    UNKNOWN_NAME = "unknown_name"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    GONE = "gone"
    STALE = "stale"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    INVALID_REQUEST = "invalid_request"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


_STATUS: Final[Mapping[Code, int]] = {
    Code.INVALID_SPEC: 422,
    Code.UNKNOWN_NAME: 422,
    Code.NOT_FOUND: 404,
    Code.CONFLICT: 409,
    Code.GONE: 410,
    Code.STALE: 412,
    Code.IDEMPOTENCY_MISMATCH: 422,
    Code.INVALID_REQUEST: 400,
    Code.TOO_LARGE: 413,
    Code.UNSUPPORTED_MEDIA_TYPE: 415,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}
_CODES: Final = {404: Code.NOT_FOUND, 415: Code.UNSUPPORTED_MEDIA_TYPE}
# Kinds of names that stand in a path; all others stand in a body.
_RESOURCES: Final = frozenset({"job", "figure", "generation", "beacon"})


class FieldError(BaseModel):
    """One wrong field."""

    pointer: str = Field(
        description="JSON pointer into the body, or #query/NAME, #path/NAME, #header/NAME",
        examples=["/search/population"],
    )
    detail: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    type: str = Field(examples=["/problems/conflict"])
    title: str = Field(description="the status in words", examples=["Conflict"])
    status: int = Field(ge=400, le=599, examples=[409])
    detail: str = Field(description="what was given and what is allowed")
    instance: str = Field(description="path of the request")
    code: Code
    errors: list[FieldError] = Field(default=[], description="the wrong fields, if it is fields")
    request_id: str = Field(description="as in the header X-Request-Id")


class Refusal(DseError):
    """A request that cannot be served as it stands."""

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        status: int | None = None,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.code = code
        self.status = status or _STATUS[code]
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(detail)


def refusal(error: Exception) -> Refusal:
    """Return what is told of an error; the text of an unexpected one is not."""
    match error:
        case Refusal():
            return error
        case SpecError():
            return Refusal(Code.INVALID_SPEC, str(error), errors=_fields(error))
        case UnknownNameError() if error.kind in _RESOURCES:
            return Refusal(Code.NOT_FOUND, str(error))
        case UnknownNameError():
            return Refusal(Code.UNKNOWN_NAME, str(error), errors=_fields(error))
        case ConflictError():
            return Refusal(Code.CONFLICT, str(error))
        case WeightsError():
            return Refusal(Code.GONE, str(error))
        case StoreUnavailableError():
            return Refusal(Code.UNAVAILABLE, str(error), headers={"Retry-After": "1"})
        case StoreError() | CacheError() | EvaluationError():
            return Refusal(Code.UNAVAILABLE, str(error))
        case RequestValidationError():
            return _invalid(error.errors())
        case HTTPException(status_code=413):
            return too_large()
        case HTTPException():
            code = _CODES.get(error.status_code, Code.INVALID_REQUEST)
            return Refusal(
                code, error.detail, status=error.status_code, headers=error.headers or {}
            )
        case _:
            return Refusal(Code.INTERNAL, "the service failed; its log has the request id")


def too_large() -> Refusal:
    """Return what is told of a body above the limit."""
    return Refusal(Code.TOO_LARGE, f"a body has at most {MAX_BYTES} bytes, got more")


def pointer(parts: Iterable[object]) -> str:
    """Return a JSON pointer (RFC 6901); half of a surrogate pair, which no answer can hold, is
    written as its escape."""
    told = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return told.encode("utf-8", "backslashreplace").decode()


def _fields(error: DseError) -> list[FieldError]:
    if isinstance(error.__cause__, ValidationError):
        return [
            FieldError(pointer=pointer((*error.at, *place)), detail=message)
            for place, message, _ in complaints(error.__cause__)
        ]
    return [FieldError(pointer=pointer(error.at), detail=str(error))] if error.at else []


def _invalid(items: Sequence[Mapping[str, object]]) -> Refusal:
    fields = [FieldError(pointer=_place(item), detail=_said(item["msg"])) for item in items]
    told = "; ".join(f"{field.pointer or 'the body'}: {field.detail}" for field in fields)
    return Refusal(Code.INVALID_REQUEST, told, status=422, errors=fields)


def _place(item: Mapping[str, object]) -> str:
    place = item["loc"]
    assert isinstance(place, tuple), "a validation error says where it is"
    where, *inner = place
    if item["type"] == "json_invalid":
        return ""
    return pointer(inner) if where == "body" else f"#{where}{pointer(inner)}"


def _said(message: object) -> str:
    return str(message).removeprefix("Value error, ")
