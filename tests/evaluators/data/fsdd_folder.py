"""A folder shaped like the Free Spoken Digit Dataset: each digit is a tone of its own, at whatever
speed of those that training draws."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SPEAKERS = ("anna", "bert", "lucas")
TAKES = (0, 5, 6, 35)


def write_fsdd(
    folder: Path, *, speakers: tuple[str, ...] = SPEAKERS, takes: tuple[int, ...] = TAKES
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, speaker in enumerate(speakers):
        for digit in range(10):
            for take in takes:
                write_wav(
                    folder / f"{digit}_{speaker}_{take}.wav",
                    tone(100 * 1.46**digit, 1200 + 40 * take + 400 * number, number + 1),
                )


def tone(frequency_hz: float, n_samples: int, loudness: int) -> NDArray[np.int16]:
    """A tone with an offset, as cheap microphones have."""
    phase = 2 * np.pi * frequency_hz * np.arange(n_samples) / 8000
    return (50 + 900 * loudness * np.sin(phase)).astype(np.int16)


def write_wav(
    path: Path, samples: NDArray[np.int16], *, rate_hz: int = 8000, channels: int = 1
) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
