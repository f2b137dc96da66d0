"""A user's copy of the Free Spoken Digit Dataset: wav files `digit_speaker_take.wav`."""

import hashlib
import re
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dse.errors import SpecError
from dse.ports import Progress

SAMPLE_RATE_HZ = 8000
LOUDNESS = 0.1
"""Root mean square that every recording is brought to: speakers differ by a factor of 8."""

# The data set's authors call takes 0 to 4 the test set.
TAKES = {"test": range(5), "train": range(5, 35), "search": range(35, 50)}
UNSEEN = "unseen"
_RECIPE = 1
_NAME = re.compile(r"([0-9])_([^_]+)_(0|[1-9][0-9]*)\.wav")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One spoken digit.

    Attributes:
        samples: float32 (n_samples,), of mean 0 and root mean square `LOUDNESS`.
        speaker: index into `Fsdd.speakers`.
    """

    samples: NDArray[np.float32]
    digit: int
    speaker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    digit: int
    speaker: str
    take: int


class Fsdd:
    """The recordings, split by take and by speaker.

    Attributes:
        speakers: their names, sorted.

    Args:
        folder: the data set's folder `recordings`, or the one that holds it.
        held_out: the speaker whose every take is the split "unseen"; takes of the others are
            split as `TAKES` says, later ones are left out.

    Raises:
        SpecError: no such folder, a name of another form, no such speaker, or a split without a
            recording of a speaker. No sound is read yet.
    """

    def __init__(self, folder: Path, *, held_out: str) -> None:
        self._files = _listed(folder)
        self._held_out = held_out
        self.speakers = sorted({file.speaker for file in self._files})
        if held_out not in self.speakers:
            raise SpecError(
                f"held_out must be one of {', '.join(self.speakers)} (the speakers in DSE_FSDD), "
                f"got {held_out!r}"
            )
        if len(self.speakers) < 2:
            raise SpecError(f"DSE_FSDD must hold at least 2 speakers, got 1 in {folder}")
        self._splits = self._split()

    def identity(self) -> dict[str, object]:
        """Return all that the recordings depend on, as JSON data: names and contents."""
        files = hashlib.sha256()
        for file in self._files:
            content = hashlib.sha256(_bytes(file.path)).hexdigest()
            files.update(f"{file.path.name} {content}\n".encode())
        return {"recipe": _RECIPE, "held_out": self._held_out, "files": files.hexdigest()}

    def read(self, progress: Progress) -> dict[str, list[Recording]]:
        """Read the splits train, search, test and unseen.

        Raises:
            SpecError: a file that is not 8 kHz 16-bit mono PCM, is cut short or holds no sound.
        """
        done, total = 0, sum(len(split) for split in self._splits.values())
        read: dict[str, list[Recording]] = {name: [] for name in self._splits}
        for name, files in self._splits.items():
            for file in files:
                speaker = self.speakers.index(file.speaker)
                samples = _levelled(read_sound(file.path), file.path)
                read[name].append(Recording(samples=samples, digit=file.digit, speaker=speaker))
                done += 1
                progress("reading recordings", done, total)
        return read

    def _split(self) -> Mapping[str, Sequence[_File]]:
        seen = [name for name in self.speakers if name != self._held_out]
        splits = {UNSEEN: [file for file in self._files if file.speaker == self._held_out]}
        for name, takes in TAKES.items():
            of_split = [f for f in self._files if f.speaker in seen and f.take in takes]
            missing = sorted(set(seen) - {file.speaker for file in of_split})
            if missing:
                raise SpecError(
                    f"DSE_FSDD must hold takes {takes.start} to {takes.stop - 1} ({name}) of "
                    f"every speaker, got none of {missing[0]}"
                )
            splits[name] = of_split
        return splits


def read_sound(path: Path) -> NDArray[np.int16]:
    """Read a wav file of 16-bit PCM, 8 kHz, one channel: (n_samples,).

    Raises:
        SpecError: another format, a damaged file, or one without samples.
    """
    try:
        with wave.open(str(path), "rb") as file:
            given = (file.getframerate(), file.getnchannels(), 8 * file.getsampwidth())
            expected = file.getnframes()
            data = file.readframes(expected)
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends early"
        raise SpecError(f"DSE_FSDD: {path} must be a wav file: {reason}") from error
    except OSError as error:
        raise SpecError(f"DSE_FSDD: cannot read {path}: {error.strerror}") from error
    if given != (SAMPLE_RATE_HZ, 1, 16):
        rate, channels, width = given
        raise SpecError(
            f"DSE_FSDD: {path} must hold 16-bit pcm at {SAMPLE_RATE_HZ} Hz in 1 channel, got "
            f"{width}-bit at {rate} Hz in {channels}"
        )
    if not expected or len(data) != 2 * expected:
        raise SpecError(
            f"DSE_FSDD: {path} must hold the samples its header tells of, and at least one, got "
            f"{len(data) // 2} of {expected}"
        )
    return np.frombuffer(data, dtype="<i2").astype(np.int16)


def _levelled(sound: NDArray[np.int16], path: Path) -> NDArray[np.float32]:
    centred: NDArray[np.float64] = sound - sound.mean(dtype=np.float64)
    loudness = float(np.sqrt(np.mean(np.square(centred))))
    if loudness == 0:
        raise SpecError(f"DSE_FSDD: {path} must hold sound, got {len(sound)} equal samples")
    return (centred * (LOUDNESS / loudness)).astype(np.float32)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"DSE_FSDD: cannot read {path}: {error.strerror}") from error


def _listed(folder: Path) -> list[_File]:
    place = folder / "recordings" if (folder / "recordings").is_dir() else folder
    try:
        paths = sorted(path for path in place.iterdir() if path.suffix == ".wav")
    except OSError as error:
        raise SpecError(
            f"DSE_FSDD must be the folder of the Free Spoken Digit Dataset's recordings, "
            f"got {folder}: {error.strerror}"
        ) from error
    if not paths:
        raise SpecError(f"DSE_FSDD: {place} must hold digit_speaker_take.wav files, got none")
    return [_parsed(path) for path in paths]


def _parsed(path: Path) -> _File:
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise SpecError(
            f"DSE_FSDD: {path} must be named digit_speaker_take.wav, such as 7_george_0.wav"
        )
    digit, speaker, take = found.groups()
    return _File(path=path, digit=int(digit), speaker=speaker, take=int(take))
