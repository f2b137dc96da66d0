"""Phone and frame error of a tagger on a split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from evaluators.data.phones import SILENCE
from evaluators.data.utterances import Utterance

IntArray = NDArray[np.int64]
_PAD = -1


@dataclass(frozen=True, slots=True)
class Batch:
    """Utterances of like length, padded at their ends.

    Attributes:
        features: float32 (batch, time, inputs), padded with 0.
        labels: int64 (batch, time), padded with -1.
        phones: int64 (batch, phones), padded with -1.
    """

    features: Tensor
    labels: IntArray
    phones: IntArray


def batches(utterances: Sequence[Utterance], size: int = 30) -> list[Batch]:
    """Sort utterances by length and batch them."""
    order = sorted(range(len(utterances)), key=lambda i: len(utterances[i].labels))
    groups = [[utterances[i] for i in order[at : at + size]] for at in range(0, len(order), size)]
    return [
        Batch(
            pad_sequence([u.features for u in group], batch_first=True),
            pad_sequence([u.labels for u in group], True, _PAD).numpy(),
            pad_sequence([u.phones for u in group], True, _PAD).numpy(),
        )
        for group in groups
    ]


def measure(model: nn.Module, data: Sequence[Batch]) -> dict[str, float]:
    """Return `error` (edits per 100 reference phones) and `frame_error` (% of frames)."""
    edits = phones = wrong = frames = 0
    with torch.inference_mode():
        for batch in data:
            guesses = model(batch.features).argmax(-1).numpy()
            inside = batch.labels != _PAD
            wrong += int((guesses != batch.labels)[inside].sum())
            frames += int(inside.sum())
            edits += int(edit_distances(batch.phones, decode(guesses, inside)).sum())
            phones += int((batch.phones != _PAD).sum())
    return {"error": 100 * edits / phones, "frame_error": 100 * wrong / frames}


def decode(guesses: IntArray, inside: NDArray[np.bool_]) -> IntArray:
    """Merge equal neighbours, then drop silence.

    Args:
        guesses: class of each frame: (batch, time).
        inside: which frames are no padding: (batch, time).

    Returns:
        phones (batch, longest), padded with -1.
    """
    kept = inside & (guesses != SILENCE)
    kept[:, 1:] &= guesses[:, 1:] != guesses[:, :-1]
    counts = kept.sum(1)
    phones = np.full((len(guesses), int(counts.max(initial=0))), _PAD, dtype=np.int64)
    phones[np.arange(phones.shape[1]) < counts[:, None]] = guesses[kept]
    return phones


def edit_distances(references: IntArray, guesses: IntArray) -> IntArray:
    """Return the Levenshtein distance of each pair of rows: (batch,).

    Args:
        references: (batch, n), each row ended by padding of -1.
        guesses: (batch, m), likewise.
    """
    lengths: IntArray = (references != _PAD).sum(1)
    ends = (guesses != _PAD).sum(1)
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
