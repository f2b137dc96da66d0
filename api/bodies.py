"""Job specs in request bodies: JSON or YAML in, a checked spec out."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import Request

from api.driving import checked
from api.errors import Code, FieldError, Refusal, pointer
from dse.catalogue import Catalogue
from dse.errors import EvaluationError, SpecError, UnknownNameError
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
        spec = spec_from_data(_load_json(body))
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
        SpecError, Refusal: naming what was given, where, and what is allowed.
    """
    try:
        checked(spec, catalogue)
    except UnknownNameError as error:
        wrong = [
            FieldError(pointer=pointer(place), detail=str(error))
            for place, name in _names(spec)
            if name == error.given and place[0] in _PLACES.get(error.kind, ())
        ]
        raise Refusal(Code.UNKNOWN_NAME, str(error), errors=wrong) from error
    except EvaluationError as error:  # a plug-in that cannot even be described
        raise Refusal(Code.INVALID_SPEC, str(error)) from error


def _storable(spec: JobSpec) -> JobSpec:
    """Return `spec` unless a text in it cannot be stored everywhere.

    Raises:
        SpecError: a text holds NUL or half of a surrogate pair.
    """
    for place, text in _texts(spec.model_dump(), ()):
        if "\0" in text or any("\ud800" <= sign <= "\udfff" for sign in text):
            raise SpecError(
                f"{pointer(place)[:200]!a} must hold no NUL and no lone surrogate, "
                f"got {text!a:.80}"
            )
    return spec


def _load_json(body: bytes) -> object:
    try:
        return json.loads(
            body.decode("utf-8-sig"),
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
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


def _refuse_constant(name: str) -> object:
    raise SpecError(f"numbers must be finite, got {name}")


_PLACES: Final = {
    "workload": ("workload",),
    "platform": ("platforms",),
    "knob": ("knobs",),
    "metric": ("objectives", "constraints", "totals"),
}


def _names(spec: JobSpec) -> Iterator[tuple[tuple[object, ...], str]]:
    yield ("workload", "name"), spec.workload.name
    for i, platform in enumerate(spec.platforms):
        yield ("platforms", i, "name"), platform.name
    for i, line in enumerate(spec.knobs):
        yield ("knobs", i, "knob"), line.knob
    for i, objective in enumerate(spec.objectives):
        yield ("objectives", i), objective
    for i, constraint in enumerate(spec.constraints):
        yield ("constraints", i, "metric"), constraint.metric
    for total in spec.totals:
        yield ("totals", total), total


def _texts(data: object, place: tuple[object, ...]) -> Iterator[tuple[tuple[object, ...], str]]:
    if isinstance(data, str):
        yield place, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield (*place, key), str(key)
            yield from _texts(value, (*place, key))
    elif isinstance(data, list | tuple):
        for i, value in enumerate(data):
            yield from _texts(value, (*place, i))
