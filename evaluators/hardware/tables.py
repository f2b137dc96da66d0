"""Costs of whole populations by one table a layer: a row a choice, a column a figure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dse.knobs import KNOBS
from dse.ports import FloatArray, IntArray

_CHUNK: Final = 4000
"""Designs costed at a time: their indices and sums stay in the processor's cache."""

SmallArray = NDArray[np.unsignedinteger[Any]]  # of any width

Rows = Callable[[slice], IntArray | SmallArray]
"""Gives for a part of the designs the rows (n_layers, n) of the layers' tables."""


def summed(
    tables: Sequence[FloatArray] | FloatArray, rows: Rows, *, size: int, columns: int
) -> FloatArray:
    """Add up each design's rows, layer after layer: (size, columns).

    Args:
        tables: of each layer, (any number of rows, columns).
    """
    total = np.zeros((size, columns))
    for start in range(0, size, _CHUNK):
        part = slice(start, min(start + _CHUNK, size))
        sums, row = total[part], np.empty((part.stop - start, columns))
        for table, picked in zip(tables, rows(part), strict=True):
            # "clip" alone writes into `out` unbuffered; the indices are known to be good
            sums += np.take(table, picked, axis=0, out=row, mode="clip")
    return total


def counted(knobs: Sequence[str], indices: Mapping[str, SmallArray]) -> SmallArray:
    """Number the joint choices of some knobs, the last knob fastest: (n_layers, n), uint16.

    Args:
        knobs: names of knobs; what follows an "@" tells several uses of one knob apart.
        indices: knob -> indices (n, n_layers) into its choices.
    """
    first, *others = knobs
    numbers = indices[first].astype(np.uint16)
    for knob in others:
        numbers *= len(KNOBS[knob.partition("@")[0]].choices)
        numbers += indices[knob]
    return np.ascontiguousarray(numbers.T)


def small(indices: Mapping[str, IntArray], part: slice) -> dict[str, SmallArray]:
    """Return a part of the designs' indices in bytes: passes over them take less memory."""
    return {knob: found[part].astype(np.uint8) for knob, found in indices.items()}
