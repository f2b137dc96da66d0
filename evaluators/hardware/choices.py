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


def accepted_indices(
    platform: Platform, shape: NetworkShape, choices: Mapping[str, IntArray]
) -> dict[str, IntArray]:
    """Return what a platform's knobs stand at, once it is sure that it takes them.

    Args:
        choices: knob -> indices (n_designs, n_layers) into `KNOBS[knob].choices`. A knob of the
            platform that is absent stands at its neutral value; knobs of other platforms are
            passed over. Without any knob there is one design.

    Returns:
        knob of the platform -> indices (n_designs, n_layers), int64.

    Raises:
        SpecError: a value that the platform does not take, knobs or layers that differ though they
            must be equal, or indices of another shape.
    """
    size = _size(shape, choices)
    indices = {knob: _indices(knob, choices.get(knob), size) for knob in platform.knobs}
    for knob, allowed in platform.knobs.items():
        _check_taken(platform, shape, knob, allowed, indices[knob])
        if KNOBS[knob].scope == "design":
            _check_whole(shape, knob, indices[knob])
    for first, *others in platform.tied:
        for other in others:
            _check_tied(platform, shape, first, other, indices)
    return indices


def accepted_values(
    platform: Platform, shape: NetworkShape, choices: Mapping[str, IntArray]
) -> dict[str, Values]:
    """As `accepted_indices`, but return values (n_designs, n_layers): int64, text for words,
    objects where a word stands among numbers."""
    indices = accepted_indices(platform, shape, choices)
    return {knob: _catalogue(knob)[found] for knob, found in indices.items()}


def _check_taken(
    platform: Platform,
    shape: NetworkShape,
    knob: str,
    allowed: tuple[Value, ...],
    indices: IntArray,
) -> None:
    taken = np.array([choice in allowed for choice in KNOBS[knob].choices])
    if taken.all() or taken[indices].all():
        return
    row, i = np.argwhere(~taken[indices])[0]
    raise SpecError(
        f"platform {platform.name!r} takes {knob} of {_listed(allowed)}; "
        f"layer {shape.layers[i].name!r} has {knob}={KNOBS[knob].choices[indices[row, i]]}"
    )


def _check_whole(shape: NetworkShape, knob: str, indices: IntArray) -> None:
    differ = indices != indices[:, :1]
    if not differ.any():
        return
    row, i = np.argwhere(differ)[0]
    first, found = (KNOBS[knob].choices[indices[row, j]] for j in (0, i))
    raise SpecError(
        f"{knob} is one choice for the whole design; layer {shape.layers[i].name!r} "
        f"has {found}, the first layer {first}"
    )


def _check_tied(
    platform: Platform,
    shape: NetworkShape,
    first: str,
    other: str,
    indices: Mapping[str, IntArray],
) -> None:
    one, two = indices[first], indices[other]
    if KNOBS[first].choices != KNOBS[other].choices:
        one, two = _catalogue(first)[one], _catalogue(other)[two]
    differ = one != two
    if not differ.any():
        return
    row, i = np.argwhere(differ)[0]
    ours, theirs = (KNOBS[k].choices[indices[k][row, i]] for k in (first, other))
    raise SpecError(
        f"platform {platform.name!r} needs {first} equal to {other}; "
        f"layer {shape.layers[i].name!r} has {first}={ours} and {other}={theirs}"
    )


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
    indices = np.asarray(indices, dtype=np.int64)
    # numpy would take a negative index from the end; as an unsigned number it is a large one
    if indices.size and indices.view(np.uint64).max() >= len(choices):
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
