"""Log-mel features: 40 mels, two 10 ms frames joined to one of 20 ms."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

INPUTS = 80
_MELS = INPUTS // 2
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """What the mels cover.

    Attributes:
        floor: added to the energy of a mel before its logarithm.
    """

    lowest_hz: float
    highest_hz: float
    floor: float


WIDE = Band(lowest_hz=40.0, highest_hz=7600.0, floor=1e-6)
TELEPHONE = Band(lowest_hz=60.0, highest_hz=3900.0, floor=1e-5)


@dataclass(frozen=True, slots=True)
class Framing:
    """Where frames lie in the audio: Hann windows of 25 ms, one every 10 ms."""

    rate_hz: int

    @property
    def window(self) -> int:
        """Samples in a window."""
        return int(0.025 * self.rate_hz)

    @property
    def hop(self) -> float:
        """Samples from one window to the next, not always whole."""
        return self.rate_hz / 100

    @property
    def transform(self) -> int:
        """Points of the Fourier transform: the next power of two."""
        return 1 << (self.window - 1).bit_length()

    def starts(self, n_samples: int) -> NDArray[np.int64]:
        """Return the first sample of each window that fits, an even number of them."""
        count = int((n_samples - self.window) / self.hop) + 1 if n_samples >= self.window else 0
        starts: NDArray[np.int64] = np.floor(np.arange(count // 2 * 2) * self.hop + 0.5).astype(
            np.int64
        )
        return starts

    def middles(self, frames: int) -> NDArray[np.float64]:
        """Return the sample between the centres of the two windows of each joined frame."""
        return (2 * np.arange(frames, dtype=np.float64) + 0.5) * self.hop + self.window / 2


def log_mel(audio: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """Return features of mean 0 and deviation 1 per mel of `WIDE` and utterance.

    Args:
        audio: (n_samples,) in -1..1.

    Returns:
        float32 (frames, 80), one frame every 20 ms; none if the audio is shorter than two windows.
    """
    framing = Framing(rate_hz)
    starts = framing.starts(len(audio))
    if not len(starts):
        return np.zeros((0, INPUTS), dtype=np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(audio, framing.window)[starts]
    spectrum = np.fft.rfft(windows * _hann(framing.window), n=framing.transform)
    energy = (spectrum.real**2 + spectrum.imag**2) @ _mel_filters(rate_hz, WIDE)
    mels = np.log(energy + np.float32(WIDE.floor))
    deviation = np.maximum(mels.std(axis=0), np.float32(_LEAST_DEVIATION))
    normal: NDArray[np.float32] = (mels - mels.mean(axis=0)) / deviation
    return normal.reshape(-1, INPUTS)


def quick_log_mel(audio: Tensor, rate_hz: int, band: Band) -> Tensor:
    """Return what `log_mel` does on any band, in torch and so with other last bits.

    Its Fourier transform is five times as fast, and the product keeps to torch's threads: numpy's
    own wait for each other for milliseconds where every core is busy.

    Args:
        audio: float32 (n_samples,) in -1..1.

    Returns:
        float32 (frames, 80).
    """
    framing = Framing(rate_hz)
    starts = framing.starts(len(audio))
    if not len(starts):
        return torch.zeros(0, INPUTS)
    windows = audio.unfold(0, framing.window, 1)[torch.from_numpy(starts)]
    hann = torch.from_numpy(_hann(framing.window))
    spectrum = torch.view_as_real(torch.fft.rfft(windows * hann, n=framing.transform))
    energy = spectrum.square().sum(-1) @ torch.from_numpy(_mel_filters(rate_hz, band))
    mels = (energy + band.floor).log()
    deviation = mels.std(dim=0, correction=0).clamp(min=_LEAST_DEVIATION)
    return ((mels - mels.mean(dim=0)) / deviation).reshape(-1, INPUTS)


@cache
def _hann(window: int) -> NDArray[np.float32]:
    return np.hanning(window).astype(np.float32)


@cache
def _mel_filters(rate_hz: int, band: Band) -> NDArray[np.float32]:
    """Triangles of height 1, evenly spaced in mel = 2595 log10(1 + f / 700): (bins, 40)."""
    framing = Framing(rate_hz)
    bins = np.arange(framing.transform // 2 + 1) * (rate_hz / framing.transform)
    low, high = 2595 * np.log10(1 + np.array([band.lowest_hz, band.highest_hz]) / 700)
    edges = 700 * (10 ** (np.linspace(low, high, _MELS + 2) / 2595) - 1)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float64] = np.clip(np.minimum(rising, falling), 0, None)
    return filters.astype(np.float32)
