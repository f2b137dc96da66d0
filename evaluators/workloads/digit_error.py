"""Word and string error of a digit recogniser on a split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from evaluators.data.digits import DigitString, batch
from evaluators.models.ctc import BLANK
from evaluators.workloads.sequences import PAD, IntArray, decode, edit_distances


@dataclass(frozen=True, slots=True)
class Batch:
    """Strings of like length, padded at their ends.

    Attributes:
        features: float32 (batch, time, inputs), padded with 0.
        frames: int64 (batch,), how many are no padding.
        digits: int64 (batch, longest), padded with -1.
    """

    features: Tensor
    frames: IntArray
    digits: IntArray


def batches(strings: Sequence[DigitString], size: int = 25) -> list[Batch]:
    """Sort strings by length and batch them."""
    ordered = sorted(strings, key=lambda one: len(one.features))
    made = [batch(ordered[at : at + size]) for at in range(0, len(ordered), size)]
    return [
        Batch(features, frames.numpy(), digits.numpy()) for features, digits, frames, _ in made
    ]


def measure(model: nn.Module, data: Sequence[Batch]) -> dict[str, float]:
    """Return `error` (edits per 100 spoken digits) and `string_error` (% of the strings), both by
    the greedy path."""
    edits = digits = wrong = strings = 0
    with torch.inference_mode():
        for one in data:
            guesses = model(one.features).argmax(-1).numpy()
            inside = np.arange(guesses.shape[1]) < one.frames[:, None]
            # A digit's class is one above it; padding and blanks are gone by then.
            heard = decode(guesses, inside, silent=BLANK)
            distances = edit_distances(one.digits, np.where(heard == PAD, PAD, heard - 1))
            edits += int(distances.sum())
            digits += int((one.digits != PAD).sum())
            wrong += int((distances > 0).sum())
            strings += len(distances)
    return {"error": 100 * edits / digits, "string_error": 100 * wrong / strings}
