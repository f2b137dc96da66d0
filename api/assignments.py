"""What a command line assigns: parameters and knob values."""

from collections.abc import Mapping, Sequence

import yaml

from dse.canonical import canon_of
from dse.design import Design, Value
from dse.errors import SpecError, UnknownNameError
from dse.knob_lines import ENDS, default_values, matching
from dse.knobs import KNOBS
from dse.ports import Platform, Workload


def params_from(texts: Sequence[str]) -> dict[str, object]:
    """Read NAME=VALUE texts; values are plain YAML scalars."""
    params: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise SpecError(f"a parameter is NAME=VALUE, got {text!r}")
        params[name] = _scalar(name, value)
    return params


def design_from(
    workload: Workload,
    texts: Sequence[str],
    start: Design | None,
    *,
    platforms: Sequence[Platform] = (),
) -> Design:
    """Return the design that KNOB=VALUE and KNOB@LAYERS=VALUE texts make of `start`, or of the
    workload's defaults, in canonical form on `platforms`; later texts win.

    Raises:
        UnknownNameError: no such knob.
        SpecError: a value the knob cannot take, a glob that matches no layer, layers that differ
            in a choice of the whole design, or a choice that none of the platforms offers.
    """
    layers = workload.shape.names
    if start is None:
        base = default_values(workload)
    else:
        base = {name: knob.neutral for name, knob in KNOBS.items()}
    choices = {knob: dict.fromkeys(layers, value) for knob, value in base.items()}
    for knob, values in (start.choices if start else {}).items():
        if set(values) != set(layers):
            raise SpecError(
                f"the design is of another network: its layers are {', '.join(values)}; "
                f"this one's {', '.join(layers)}"
            )
        if knob not in KNOBS:
            raise UnknownNameError("knob", knob, KNOBS)
        choices[knob] = {layer: _allowed(knob, layer, values[layer]) for layer in layers}
    for text in texts:
        knob, glob, value = _assignment(text)
        matched = matching(layers, glob)
        if not matched:
            allowed = ", ".join((*ENDS, *layers))
            raise SpecError(f"{glob!r} in {text!r} matches no layer; allowed: {allowed}")
        choices[knob].update(dict.fromkeys(matched, value))
    for knob, values in choices.items():
        _check_platforms(knob, values, platforms)
    return canon_of(workload.shape, platforms).design(Design(choices))


def _check_platforms(
    knob: str, values: Mapping[str, Value], platforms: Sequence[Platform]
) -> None:
    found = list(dict.fromkeys(values.values()))
    if KNOBS[knob].scope == "design" and len(found) > 1:
        raise SpecError(f"{knob} is one choice for the whole design, got {found}")
    offered = any(knob in platform.knobs for platform in platforms)
    if KNOBS[knob].bound and not offered and found != [KNOBS[knob].neutral]:
        raise SpecError(
            f"{knob} needs a platform that offers it, none of {[p.name for p in platforms]} does; "
            f"allowed: {KNOBS[knob].neutral}, got {found}"
        )


def _allowed(knob: str, layer: str, value: Value) -> Value:
    if value not in KNOBS[knob].choices:
        raise SpecError(
            f"{knob} at {layer!r} must be one of {list(KNOBS[knob].choices)}, got {value!r}"
        )
    return value


def _scalar(name: str, text: str) -> str | int | float | bool | None:
    try:
        value = yaml.safe_load(text)
    # PyYAML lets its scalars' own errors through, of 2020-13-45 and the like
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise SpecError(f"the value of {name} is no plain scalar, got {text!r}") from error
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise SpecError(f"the value of {name} must be a number, a text or true or false, got {text!r}")


def _assignment(text: str) -> tuple[str, str, Value]:
    target, equals, value = text.partition("=")
    knob, at, glob = target.partition("@")
    if not (knob and equals):
        raise SpecError(f"an assignment is KNOB=VALUE or KNOB@LAYERS=VALUE, got {text!r}")
    if knob not in KNOBS:
        raise UnknownNameError("knob", knob, KNOBS)
    allowed = {str(choice): choice for choice in KNOBS[knob].choices}
    if value not in allowed:
        raise SpecError(f"{knob} must be one of {list(allowed.values())}, got {value!r}")
    return knob, glob if at else "*", allowed[value]
