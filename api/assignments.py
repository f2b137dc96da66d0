"""What a command line assigns: parameters and knob values."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import yaml

from dse.design import Design
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS


def params_from(texts: Sequence[str]) -> dict[str, object]:
    """Read NAME=VALUE texts; values are plain YAML scalars."""
    params: dict[str, object] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise SpecError(f"a parameter is NAME=VALUE, got {text!r}")
        params[name] = _scalar(name, value)
    return params


def design_from(layers: Sequence[str], texts: Sequence[str], start: Design | None) -> Design:
    """Return the design that KNOB=VALUE and KNOB@LAYERS=VALUE texts make of `start`, or of the
    neutral one; later texts win.

    Raises:
        UnknownNameError: no such knob.
        SpecError: a value the knob cannot take, or a glob that matches no layer.
    """
    choices = {knob: dict.fromkeys(layers, entry.neutral) for knob, entry in KNOBS.items()}
    for knob, values in (start.choices if start else {}).items():
        if set(values) != set(layers):
            raise SpecError(
                f"the design is of another network: its layers are {', '.join(values)}; "
                f"this one's {', '.join(layers)}"
            )
        if knob not in KNOBS:
            raise UnknownNameError("knob", knob, KNOBS)
        choices[knob] = {layer: values[layer] for layer in layers}
    for text in texts:
        knob, glob, value = _assignment(text)
        matched = [layer for layer in layers if fnmatchcase(layer, glob)]
        if not matched:
            raise SpecError(f"{glob!r} in {text!r} matches no layer; allowed: {', '.join(layers)}")
        choices[knob].update(dict.fromkeys(matched, value))
    return Design(choices)


def _scalar(name: str, text: str) -> str | int | float | bool | None:
    try:
        value = yaml.safe_load(text)
    # PyYAML lets its scalars' own errors through, of 2020-13-45 and the like
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise SpecError(f"the value of {name} is no plain scalar, got {text!r}") from error
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise SpecError(f"the value of {name} must be a number, a text or true or false, got {text!r}")


def _assignment(text: str) -> tuple[str, str, int]:
    target, equals, value = text.partition("=")
    knob, at, glob = target.partition("@")
    if not (knob and equals):
        raise SpecError(f"an assignment is KNOB=VALUE or KNOB@LAYERS=VALUE, got {text!r}")
    if knob not in KNOBS:
        raise UnknownNameError("knob", knob, KNOBS)
    allowed = KNOBS[knob].choices
    if value not in map(str, allowed):
        raise SpecError(f"{knob} must be one of {list(allowed)}, got {value!r}")
    return knob, glob if at else "*", int(value)
