"""Phone and frame error of a tagger on a split."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from evaluators.data.phones import SILENCE
from evaluators.data.utterances import Utterance
from evaluators.workloads.sequences import PAD, IntArray, decode, edit_distances


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
            pad_sequence([u.labels for u in group], True, PAD).numpy(),
            pad_sequence([u.phones for u in group], True, PAD).numpy(),
        )
        for group in groups
    ]


def measure(model: nn.Module, data: Sequence[Batch]) -> dict[str, float]:
    """Return `error` (edits per 100 reference phones) and `frame_error` (% of frames)."""
    edits = phones = wrong = frames = 0
    with torch.inference_mode():
        for batch in data:
            guesses = model(batch.features).argmax(-1).numpy()
            inside = batch.labels != PAD
            wrong += int((guesses != batch.labels)[inside].sum())
            frames += int(inside.sum())
            edits += int(
                edit_distances(batch.phones, decode(guesses, inside, silent=SILENCE)).sum()
            )
            phones += int((batch.phones != PAD).sum())
    return {"error": 100 * edits / phones, "frame_error": 100 * wrong / frames}
