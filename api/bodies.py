"""Job specs in request bodies: JSON or YAML in, a checked spec out."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import Request

from api.driving import checked
from api.errors import Code, Refusal, pointer
from dse.catalogue import Catalogue
from dse.errors import EvaluationError, Place, SpecError
from dse.spec import JobSpec, parse_spec, spec_from_data

JSON_TYPE: Final = "application/json"
YAML_TYPES: Final = ("application/yaml", "text/yaml")


async def read_body(request: Request) -> bytes:
    """Return the whole body; the application limits its size."""
    return await request.body()


def read_spec(body: bytes, content_type: str | None) -> JobSpec:
    """Read a job spec from a request's body.

    Raises:
        SpecError: naming the field, what was given and what is allowed.
        Refusal: the content type is neither JSON nor YAML.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in YAML_TYPES:
        spec = parse_spec(body)
    elif kind == JSON_TYPE:
        data = _load_json(body)
        _refuse_infinite(data)
        spec = spec_from_data(data)
    else:
        allowed = ", ".join((JSON_TYPE, *YAML_TYPES))
        raise Refusal(
            Code.UNSUPPORTED_MEDIA_TYPE, f"Content-Type must be one of {allowed}, got {kind!r:.80}"
        )
    return _storable(spec)


def changed_spec(spec: Mapping[str, Any], changes: Mapping[str, Any]) -> JobSpec:
    """Return a stored spec with some fields replaced; those of `search` one by one.

    Raises:
        SpecError: the outcome does not hold.
    """
    search = {**spec["search"], **changes.get("search", {})}
    return _storable(spec_from_data({**spec, **changes, "search": search}))


def check_spec(spec: JobSpec, catalogue: Catalogue) -> None:
    """Resolve every name of a spec.

    Raises:
        SpecError, UnknownNameError, Refusal: naming what was given, where, and what is allowed.
    """
    try:
        checked(spec, catalogue)
    except EvaluationError as error:  # a plug-in that cannot even be described
        raise Refusal(Code.INVALID_SPEC, str(error)) from error


def _storable(spec: JobSpec) -> JobSpec:
    """Return `spec` unless a text in it cannot be stored everywhere.

    Raises:
        SpecError: a text holds NUL or half of a surrogate pair.
    """
    for place, text in _values(spec.model_dump()):
        if isinstance(text, str) and any(_unstorable(sign) for sign in text):
            raise SpecError(
                f"{pointer(place)[:200]!a} must hold no NUL and no lone surrogate, "
                f"got {text!a:.80}",
                at=place,
            )
    return spec


def _unstorable(sign: str) -> bool:
    return sign == "\0" or "\ud800" <= sign <= "\udfff"


def _load_json(body: bytes) -> object:
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_without_repeats,
        )
    except ValueError as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"the job spec is no JSON: {error}") from error
    except RecursionError as error:
        raise SpecError("the job spec is nested too deeply") from error


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise SpecError(f"key {twice!r:.80} stands twice")
    return found


def _refuse_infinite(data: object) -> None:
    """Refuse numbers that JSON has not, but its readers let through."""
    for place, value in _values(data):
        if isinstance(value, float) and not math.isfinite(value):
            raise SpecError(
                f"{pointer(place)[:200] or 'the job spec'}: numbers must be finite, "
                f"got {json.dumps(value)}",
                at=place,
            )


def _values(data: object) -> Iterator[tuple[Place, object]]:
    """Yield every key, and every value that holds no others, with its place, in order."""
    left: list[tuple[Place, object]] = [((), data)]
    while left:
        place, value = left.pop()
        if isinstance(value, dict):
            yield from (((*place, key), key) for key in value)
            left += reversed([((*place, key), inner) for key, inner in value.items()])
        elif isinstance(value, list | tuple):
            left += reversed([((*place, i), inner) for i, inner in enumerate(value)])
        else:
            yield place, value
