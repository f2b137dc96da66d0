"""A user's copy of TIMIT as a phone corpus.

The folder is laid out TRAIN|TEST / dialect region / speaker / utterance, as the LDC ships it, in
capital or small letters. SA sentences, which every speaker says, are left out.
"""

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dse.errors import SpecError
from dse.ports import Progress
from evaluators.data.phones import TIMIT
from evaluators.data.utterances import Utterance, label

SAMPLE_RATE_HZ = 16000
_RECIPE = 1
_SPEAKERS_PER_SEARCH_SPEAKER = 30


@dataclass(frozen=True, slots=True)
class _Recording:
    sound: Path
    phones: Path

    @property
    def speaker(self) -> str:
        return self.sound.parent.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timit:
    """What decides the corpus.

    Attributes:
        folder: holds TRAIN and TEST.
        sentences: most training sentences taken; all there are if fewer.
        seed: of which ones are taken.
    """

    folder: Path
    sentences: int
    seed: int

    def identity(self) -> dict[str, object]:
        """Return all that the corpus depends on, as JSON data: names, sizes and times of the
        files stand for their contents.

        Raises:
            SpecError: as `build`.
        """
        files = [
            [
                path.relative_to(self.folder).as_posix(),
                path.stat().st_size,
                path.stat().st_mtime_ns,
            ]
            for part in ("train", "test")
            for recording in _recordings(self.folder, part)
            for path in (recording.sound, recording.phones)
        ]
        return {"recipe": _RECIPE, "files": files, "sentences": self.sentences, "seed": self.seed}

    def build(self, progress: Progress) -> dict[str, list[Utterance]]:
        """Read the splits train, search and test. Every 30th training speaker (one at least) is
        search; the rest is train, TEST is test.

        Raises:
            SpecError: a part of the folder is missing or a file is not as TIMIT's.
        """
        recordings = _recordings(self.folder, "train")
        speakers = sorted({one.speaker for one in recordings})
        if len(speakers) < 2:
            raise SpecError(
                f"DSE_TIMIT must hold at least 2 speakers below TRAIN, got {len(speakers)} "
                f"in {self.folder}"
            )
        apart = set(speakers[::_SPEAKERS_PER_SEARCH_SPEAKER])
        rest = [one for one in recordings if one.speaker not in apart]
        chosen = np.random.default_rng(self.seed).permutation(len(rest))[: self.sentences]
        splits = {
            "train": [rest[i] for i in sorted(chosen.tolist())],
            "search": [one for one in recordings if one.speaker in apart],
            "test": _recordings(self.folder, "test"),
        }
        total = sum(len(split) for split in splits.values())
        done = 0
        read: dict[str, list[Utterance]] = {name: [] for name in splits}
        for name, split in splits.items():
            for one in split:
                read[name].append(_utterance(one))
                done += 1
                progress("computing features", done, total)
        return read


def _recordings(folder: Path, part: str) -> Sequence[_Recording]:
    """Return what lies below a part, in order of speaker and name, whatever the case."""
    top = _entry(folder, part)
    found: list[_Recording] = []
    for sound in sorted(top.glob("*/*/*"), key=lambda path: str(path).lower()):
        if sound.suffix.lower() == ".wav" and not sound.stem.lower().startswith("sa"):
            found.append(_Recording(sound, _entry(sound.parent, f"{sound.stem}.phn")))
    if not found:
        raise SpecError(
            f"DSE_TIMIT: {top} must hold <region>/<speaker>/*.WAV, got no such file "
            "other than SA sentences"
        )
    return found


def _entry(folder: Path, name: str) -> Path:
    if folder.is_dir():
        for path in folder.iterdir():
            if path.name.lower() == name.lower():
                return path
    raise SpecError(f"DSE_TIMIT: {folder} must hold {name.upper()}, got none")


def _utterance(recording: _Recording) -> Utterance:
    starts, classes = read_phones(recording.phones)
    audio = np.divide(read_sound(recording.sound), 32768, dtype=np.float32)
    return label(audio, starts, classes, SAMPLE_RATE_HZ)


def read_phones(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read lines `start end phone`, in samples: first sample and class of each, (n_phones,).

    Raises:
        SpecError: another form, or a symbol outside TIMIT's 61.
    """
    starts: list[float] = []
    classes: list[int] = []
    for number, line in enumerate(path.read_text(encoding="ascii", errors="replace").splitlines()):
        fields = line.split()
        if len(fields) != 3 or not fields[0].isdigit() or fields[2].lower() not in TIMIT:
            raise SpecError(
                f"{path}: line {number + 1} must be `start end phone` with one of TIMIT's 61 "
                f"phones, got {line!r}"
            )
        starts.append(int(fields[0]))
        classes.append(TIMIT[fields[2].lower()])
    if not starts:
        raise SpecError(f"{path}: a .PHN file must list at least one phone, got none")
    return np.array(starts), np.array(classes, dtype=np.int64)


def read_sound(path: Path) -> NDArray[np.int16]:
    """Read a NIST SPHERE or RIFF file of 16-bit PCM, 16 kHz, one channel: (n_samples,).

    Raises:
        SpecError: another format.
    """
    content = path.read_bytes()
    return _sphere(path, content) if content.startswith(b"NIST_1A\n") else _riff(path)


def _sphere(path: Path, content: bytes) -> NDArray[np.int16]:
    """Read a SPHERE file: a text header whose second line is its length in bytes."""
    length = content[8:16].strip()
    size = int(length) if length.isdigit() else 0
    fields = {
        words[0]: words[2]
        for words in (
            line.split(None, 2) for line in content[16:size].decode("latin-1").split("\n")
        )
        if len(words) == 3
    }
    given = (
        int(fields.get("sample_rate", "0")),
        int(fields.get("channel_count", "1")),
        int(fields.get("sample_n_bytes", "2")),
        fields.get("sample_coding", "pcm").strip(),
    )
    _check(path, given)
    order = ">i2" if fields.get("sample_byte_format", "01").strip() == "10" else "<i2"
    return _samples(content[size:], order)


def _riff(path: Path) -> NDArray[np.int16]:
    try:
        with wave.open(str(path), "rb") as file:
            given = (file.getframerate(), file.getnchannels(), file.getsampwidth(), "pcm")
            _check(path, given)
            return _samples(file.readframes(file.getnframes()), "<i2")
    except (wave.Error, EOFError) as error:
        raise SpecError(f"{path} must be a NIST SPHERE or RIFF file: {error}") from error


def _check(path: Path, given: tuple[int, int, int, str]) -> None:
    if given != (SAMPLE_RATE_HZ, 1, 2, "pcm"):
        rate, channels, width, coding = given
        raise SpecError(
            f"{path} must hold 16-bit pcm at {SAMPLE_RATE_HZ} Hz in 1 channel, got "
            f"{8 * width}-bit {coding} at {rate} Hz in {channels}"
        )


def _samples(data: bytes, order: str) -> NDArray[np.int16]:
    return np.frombuffer(data[: len(data) // 2 * 2], dtype=order).astype(np.int16)
