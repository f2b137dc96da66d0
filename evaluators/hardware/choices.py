"""From indices or a design to the values that a platform has agreed to."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.design import Design, NetworkShape, Value
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from dse.ports import IntArray, Platform

Values = NDArray[Any]  # of int64, of text where the knob's values are words, or of both (object)


def accepted_values(
    platform: Platform, shape: NetworkShape, choices: Mapping[str, IntArray]
) -> dict[str, Values]:
    """Return what a platform's knobs stand at, once it is sure that it takes them.

    Args:
        choices: knob -> indices (n_designs, n_layers) into `KNOBS[knob].choices`. A knob of the
            platform that is absent stands at its neutral value; knobs of other platforms are
            passed over. Without any knob there is one design.

    Returns:
        knob of the platform -> values (n_designs, n_layers): int64, text for words, objects
        where a word stands among numbers.

    Raises:
        SpecError: a value that the platform does not take, knobs that differ though they must
            be equal, or indices of another shape.
    """
    size = _size(shape, choices)
    indices = {knob: _indices(knob, choices.get(knob), size) for knob in platform.knobs}
    values = {knob: _catalogue(knob)[indices[knob]] for knob in platform.knobs}
    for knob, allowed in platform.knobs.items():
        taken = np.array([choice in allowed for choice in KNOBS[knob].choices])
        for row, i in np.argwhere(~taken[indices[knob]])[:1]:
            raise SpecError(
                f"platform {platform.name!r} takes {knob} of {_listed(allowed)}; "
                f"layer {shape.layers[i].name!r} has {knob}={values[knob][row, i]}"
            )
    for knob in platform.knobs:
        if KNOBS[knob].scope == "design":
            for row, i in np.argwhere(values[knob] != values[knob][:, :1])[:1]:
                raise SpecError(
                    f"{knob} is one choice for the whole design; layer {shape.layers[i].name!r} "
                    f"has {values[knob][row, i]}, the first layer {values[knob][row, 0]}"
                )
    for first, *others in platform.tied:
        for other in others:
            for row, i in np.argwhere(values[first] != values[other])[:1]:
                raise SpecError(
                    f"platform {platform.name!r} needs {first} equal to {other}; "
                    f"layer {shape.layers[i].name!r} has {first}={values[first][row, i]} "
                    f"and {other}={values[other][row, i]}"
                )
    return values


def as_choices(shape: NetworkShape, design: Design) -> dict[str, IntArray]:
    """Return a design as indices of shape (1, n_layers); absent layers stand at neutral.

    Raises:
        UnknownNameError: a knob or layer that does not exist.
        SpecError: a value outside the catalogue.
    """
    return {knob: _row(shape, knob, values) for knob, values in design.choices.items()}


def _row(shape: NetworkShape, knob: str, values: Mapping[str, Value]) -> IntArray:
    if knob not in KNOBS:
        raise UnknownNameError("knob", knob, sorted(KNOBS))
    catalogue = KNOBS[knob]
    for layer, value in values.items():
        if layer not in shape.names:
            raise UnknownNameError("layer", layer, shape.names)
        if value not in catalogue.choices:
            raise SpecError(
                f"{knob} must be one of {_listed(catalogue.choices)}, got {value} at {layer!r}"
            )
    row = [catalogue.choices.index(values.get(name, catalogue.neutral)) for name in shape.names]
    return np.array([row], dtype=np.int64)


def _size(shape: NetworkShape, choices: Mapping[str, IntArray]) -> tuple[int, int]:
    n_layers = len(shape.layers)
    sizes = {np.shape(indices) for indices in choices.values()} or {(1, n_layers)}
    if len(sizes) > 1 or any(len(size) != 2 or size[1] != n_layers for size in sizes):
        raise SpecError(
            f"choices must share one shape (n_designs, {n_layers}), got {_listed(sorted(sizes))}"
        )
    n_designs, _ = sizes.pop()
    return n_designs, n_layers


def _indices(knob: str, indices: IntArray | None, size: tuple[int, int]) -> IntArray:
    choices = KNOBS[knob].choices
    if indices is None:
        return np.full(size, choices.index(KNOBS[knob].neutral))
    # numpy would take a negative index from the end.
    if indices.size and not 0 <= indices.min() <= indices.max() < len(choices):
        raise SpecError(
            f"indices of {knob} must lie in 0..{len(choices) - 1}, "
            f"got {indices.min()}..{indices.max()}"
        )
    return indices


def _catalogue(knob: str) -> Values:
    mixed = KNOBS[knob].ordered and not KNOBS[knob].numeric
    return np.array(KNOBS[knob].choices, dtype=object if mixed else None)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
