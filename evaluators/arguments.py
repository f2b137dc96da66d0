"""Functions of others, which may take more or less than they are offered."""

import inspect
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Final

_BY_POSITION: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def call_with(function: Callable[..., object], offered: Mapping[str, object]) -> object:
    """Call a function with what it asks for of `offered`: by the name of a parameter, or else by
    position, if that parameter has no default. All others keep their defaults.

    Raises:
        Exception: whatever the function raises; a TypeError if it asks for more.
    """
    values = list(offered.values())
    positional: list[object] = []
    named: dict[str, object] = {}
    for index, parameter in enumerate(inspect.signature(function).parameters.values()):
        name = parameter.name
        if parameter.kind is Parameter.VAR_POSITIONAL:
            positional += values[index:]
        elif parameter.kind is Parameter.KEYWORD_ONLY and name in offered:
            named[name] = offered[name]
        elif parameter.kind in _BY_POSITION:
            if name in offered:
                value = offered[name]
            elif parameter.default is Parameter.empty and index < len(values):
                value = values[index]
            else:
                continue
            if index == len(positional):
                positional.append(value)
            else:  # behind one that keeps its default
                named[name] = value
    return function(*positional, **named)
