"""Costs of whole populations by one table a layer: a row a choice, a column a figure."""

from collections.abc import Mapping, Sequence

import numpy as np

from dse.knobs import KNOBS
from dse.ports import FloatArray, IntArray

_CHUNK = 2000
"""Designs costed at a time: their indices and sums stay in the processor's cache."""


def summed(
    tables: Sequence[FloatArray] | FloatArray,
    knobs: Sequence[str],
    indices: Mapping[str, IntArray],
    *,
    size: int,
    columns: int,
) -> FloatArray:
    """Add up each design's rows, layer after layer: (size, columns).

    Args:
        tables: of each layer, (rows, columns); rows count through the choices of `knobs` as the
            catalogue lists them, the last knob fastest.
        indices: knob -> indices (size, n_layers) into its choices.
    """
    total = np.zeros((size, columns))
    for start in range(0, size, _CHUNK):
        part = slice(start, min(start + _CHUNK, size))
        rows = np.ascontiguousarray(_rows(knobs, indices, part).T)
        row = np.empty((rows.shape[1], columns))
        for table, picked in zip(tables, rows, strict=True):
            # "clip" alone writes into `out` unbuffered; the indices are known to be good
            total[part] += np.take(table, picked, axis=0, out=row, mode="clip")
    return total


def _rows(knobs: Sequence[str], indices: Mapping[str, IntArray], part: slice) -> IntArray:
    first, *others = knobs
    rows = indices[first][part].copy()
    for knob in others:
        rows *= _count(knob)
        rows += indices[knob][part]
    return rows


def _count(knob: str) -> int:
    return len(KNOBS[_plain(knob)].choices)


def _plain(knob: str) -> str:
    """Return the knob whose choices a name's indices mean: "a_bits@next" are widths too."""
    return knob.partition("@")[0]
