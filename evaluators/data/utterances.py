"""Labelled utterances, and how lists of them lie in tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluators.data.features import Framing, log_mel
from evaluators.data.phones import SILENCE


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One sentence as a recogniser sees it.

    Attributes:
        features: float32 (frames, 80).
        labels: int64 (frames,), the class of each frame.
        phones: int64 (phones,), the reference sequence without silence.
    """

    features: Tensor
    labels: Tensor
    phones: Tensor


def label(
    audio: NDArray[np.float32],
    starts: NDArray[np.float64],
    classes: NDArray[np.int64],
    rate_hz: int,
) -> Utterance:
    """Make an utterance of audio and its phones.

    Args:
        audio: (n_samples,) in -1..1.
        starts: (n_phones,) first sample of each phone, ascending; it ends where the next begins.
        classes: (n_phones,) its class.
    """
    features = log_mel(audio, rate_hz)
    middles = Framing(rate_hz).middles(len(features))
    owner = np.searchsorted(starts, middles, side="right") - 1
    labels = np.where(owner >= 0, classes[np.maximum(owner, 0)], SILENCE)
    merged = classes[np.insert(classes[1:] != classes[:-1], 0, True)]
    return Utterance(
        features=torch.from_numpy(features),
        labels=torch.from_numpy(labels.astype(np.int64)),
        phones=torch.from_numpy(merged[merged != SILENCE]),
    )


def pack(splits: Mapping[str, Sequence[Utterance]]) -> dict[str, Tensor]:
    """Lay splits out as few tensors, `<split>.<field>`; `unpack` is the inverse."""
    return {
        f"{name}.{field}": tensor
        for name, utterances in splits.items()
        for field, tensor in _pack_split(utterances).items()
    }


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, list[Utterance]]:
    """Return the splits that `pack` laid out; features share memory with `tensors`."""
    names = dict.fromkeys(key.partition(".")[0] for key in tensors)
    return {name: _unpack_split(tensors, name) for name in names}


def _pack_split(utterances: Sequence[Utterance]) -> dict[str, Tensor]:
    return {
        "features": torch.cat([u.features for u in utterances]),
        "labels": torch.cat([u.labels for u in utterances]).to(torch.uint8),
        "phones": torch.cat([u.phones for u in utterances]).to(torch.uint8),
        "frames": torch.tensor([len(u.labels) for u in utterances]),
        "phone_counts": torch.tensor([len(u.phones) for u in utterances]),
    }


def _unpack_split(tensors: Mapping[str, Tensor], name: str) -> list[Utterance]:
    frames = tensors[f"{name}.frames"].tolist()
    counts = tensors[f"{name}.phone_counts"].tolist()
    parts = zip(
        torch.split(tensors[f"{name}.features"], frames),
        torch.split(tensors[f"{name}.labels"].to(torch.int64), frames),
        torch.split(tensors[f"{name}.phones"].to(torch.int64), counts),
        strict=True,
    )
    return [Utterance(features=f, labels=x, phones=p) for f, x, p in parts]
