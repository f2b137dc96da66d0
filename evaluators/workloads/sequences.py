"""From tagged frames to sequences of labels, and how far two sequences are apart."""

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
PAD = -1
"""Ends rows that are shorter than their array is wide."""


def decode(guesses: IntArray, inside: NDArray[np.bool_], *, silent: int) -> IntArray:
    """Merge equal neighbours, then drop the class `silent`.

    Args:
        guesses: class of each frame: (batch, time).
        inside: which frames are no padding: (batch, time).

    Returns:
        labels (batch, longest), padded with -1.
    """
    kept = inside & (guesses != silent)
    kept[:, 1:] &= guesses[:, 1:] != guesses[:, :-1]
    counts = kept.sum(1)
    labels = np.full((len(guesses), int(counts.max(initial=0))), PAD, dtype=np.int64)
    labels[np.arange(labels.shape[1]) < counts[:, None]] = guesses[kept]
    return labels


def edit_distances(references: IntArray, guesses: IntArray) -> IntArray:
    """Return the Levenshtein distance of each pair of rows: (batch,).

    Args:
        references: (batch, n), each row ended by padding of -1.
        guesses: (batch, m), likewise.
    """
    lengths: IntArray = (references != PAD).sum(1)
    ends = (guesses != PAD).sum(1)
    rows = np.arange(len(references))
    positions = np.arange(guesses.shape[1] + 1)
    above = np.broadcast_to(positions, (len(references), len(positions)))
    distances: IntArray = above[rows, ends]
    for n in range(1, references.shape[1] + 1):
        changed = guesses != references[:, n - 1 : n]
        row = np.concatenate(
            [above[:, :1] + 1, np.minimum(above[:, 1:] + 1, above[:, :-1] + changed)], axis=1
        )
        # An insertion costs 1 a step to the right: a running minimum of what lies left.
        above = np.minimum.accumulate(row - positions, axis=1) + positions
        distances = np.where(lengths == n, above[rows, ends], distances)
    return distances
