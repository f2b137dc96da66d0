"""Spoken strings of digits, put together from recordings of single ones.

A string is some recordings of one speaker with silence before, between and after them, and white
noise over the whole.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from evaluators.data.features import TELEPHONE, quick_log_mel
from evaluators.data.fsdd import LOUDNESS, SAMPLE_RATE_HZ, Recording

FULL, SHORT = (3, 7), (1, 3)
"""Fewest and most digits of a string."""

_SILENCE_S = (0.05, 0.25)
_NOISE_DB = (30.0, 40.0)
_SPEEDS = (0.82, 1.2)
_GAINS_DB = (-4.0, 4.0)
_TOGETHER = 4

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitString:
    """One string as a recogniser sees it.

    Attributes:
        features: float32 (frames, 80).
        digits: int64 (digits,).
    """

    features: Tensor
    digits: Tensor


class Strings:
    """Draws strings at random.

    Args:
        recordings: a string's are of one speaker; each speaker is as likely.
        varied: change speed (and pitch with it) and loudness of each recording at random.
    """

    def __init__(self, recordings: Sequence[Recording], *, varied: bool) -> None:
        speakers = sorted({one.speaker for one in recordings})
        self._pools = [[one for one in recordings if one.speaker == s] for s in speakers]
        self._varied = varied

    def draw(self, random: np.random.Generator, lengths: tuple[int, int] = FULL) -> DigitString:
        """Return a string of as many digits as `lengths` allows."""
        pool = self._pools[int(random.integers(len(self._pools)))]
        count = int(random.integers(*lengths, endpoint=True))
        chosen = [pool[int(i)] for i in random.integers(len(pool), size=count)]
        audio = self._audio(chosen, random)
        return DigitString(
            features=quick_log_mel(torch.from_numpy(audio), SAMPLE_RATE_HZ, TELEPHONE),
            digits=torch.tensor([one.digit for one in chosen]),
        )

    def batches(
        self, random: np.random.Generator, *, short: int = 0, size: int = 16
    ) -> Iterator[Batch]:
        """Yield batches without end, as `batch` makes them; the first `short` of short strings."""
        while True:
            lengths, count = (SHORT, min(_TOGETHER, short)) if short else (FULL, _TOGETHER)
            short -= count if short else 0
            # Strings of like length share a batch: a quarter less to compute, padding included.
            drawn = [self.draw(random, lengths) for _ in range(count * size)]
            drawn.sort(key=lambda one: len(one.features))
            for i in random.permutation(count).tolist():
                yield batch(drawn[i * size : (i + 1) * size])

    def _audio(
        self, chosen: Sequence[Recording], random: np.random.Generator
    ) -> NDArray[np.float32]:
        parts = [_silence(random)]
        for one in chosen:
            sound = _varied(one.samples, random) if self._varied else one.samples
            parts += [sound, _silence(random)]
        audio = np.concatenate(parts)
        noise = random.standard_normal(len(audio), dtype=np.float32)
        return audio + noise * np.float32(LOUDNESS * 10 ** (-random.uniform(*_NOISE_DB) / 20))


def batch(strings: Sequence[DigitString]) -> Batch:
    """Return features (batch, time, 80) padded with 0 at their ends, digits (batch, longest)
    padded with -1, and how many frames and digits each string has: (batch,) both."""
    return (
        pad_sequence([one.features for one in strings], batch_first=True),
        pad_sequence([one.digits for one in strings], batch_first=True, padding_value=-1),
        torch.tensor([len(one.features) for one in strings]),
        torch.tensor([len(one.digits) for one in strings]),
    )


def pack(splits: Mapping[str, Sequence[DigitString]]) -> dict[str, Tensor]:
    """Lay splits out as few tensors, `<split>.<field>`; `unpack` is the inverse."""
    return {
        f"{name}.{field}": tensor
        for name, strings in splits.items()
        for field, tensor in (
            ("features", torch.cat([one.features for one in strings])),
            ("digits", torch.cat([one.digits for one in strings])),
            ("frames", torch.tensor([len(one.features) for one in strings])),
            ("counts", torch.tensor([len(one.digits) for one in strings])),
        )
    }


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, list[DigitString]]:
    """Return the splits that `pack` laid out; they share memory with `tensors`."""
    return {
        name: [
            DigitString(features=features, digits=digits)
            for features, digits in zip(
                torch.split(tensors[f"{name}.features"], tensors[f"{name}.frames"].tolist()),
                torch.split(tensors[f"{name}.digits"], tensors[f"{name}.counts"].tolist()),
                strict=True,
            )
        ]
        for name in dict.fromkeys(key.partition(".")[0] for key in tensors)
    }


def pack_recordings(recordings: Sequence[Recording]) -> dict[str, Tensor]:
    """Lay recordings out as few tensors; `unpack_recordings` is the inverse."""
    return {
        "samples": torch.from_numpy(np.concatenate([one.samples for one in recordings])),
        "lengths": torch.tensor([len(one.samples) for one in recordings]),
        "digits": torch.tensor([one.digit for one in recordings]),
        "speakers": torch.tensor([one.speaker for one in recordings]),
    }


def unpack_recordings(tensors: Mapping[str, Tensor]) -> list[Recording]:
    """Return what `pack_recordings` laid out; samples share memory with `tensors`."""
    parts = zip(
        torch.split(tensors["samples"], tensors["lengths"].tolist()),
        tensors["digits"].tolist(),
        tensors["speakers"].tolist(),
        strict=True,
    )
    return [Recording(samples=s.numpy(), digit=d, speaker=k) for s, d, k in parts]


def _silence(random: np.random.Generator) -> NDArray[np.float32]:
    return np.zeros(int(random.uniform(*_SILENCE_S) * SAMPLE_RATE_HZ), dtype=np.float32)


def _varied(samples: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    speed = random.uniform(*_SPEEDS)
    gain = 10 ** (random.uniform(*_GAINS_DB) / 20)
    where = np.arange(0, len(samples) - 1, speed)
    sound: NDArray[np.float64] = np.interp(where, np.arange(len(samples)), samples)
    return (sound * gain).astype(np.float32)
