"""A TIMIT-shaped folder of synthetic speech, as a licensed copy is laid out."""

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluators.data.espeak import Line, Spoken, speak
from evaluators.data.phones import CLASSES
from evaluators.data.speech import segments

SPEAKERS = {
    "TRAIN": ("DR1/FABC0", "DR1/MDEF0", "DR2/FGHI0"),
    "TEST": ("DR1/MJKL0",),
}
TEXTS = ("seven thick chairs moved", "the golden river slept", "a young driver measured bread")
_SYMBOLS = {"sil": "h#", "ao": "ao", "sh": "zh", "uw": "ux"}


def write_timit(folder: Path, *, sentences: int = 4, small_letters: bool = False) -> None:
    """Write SA1 and `sentences` SX utterances a speaker; every second file is RIFF."""
    places = [
        folder / part / speaker / name
        for part, speakers in SPEAKERS.items()
        for speaker in speakers
        for name in ("SA1", *(f"SX{number}" for number in range(1, sentences + 1)))
    ]
    lines = [
        Line(text=TEXTS[i % len(TEXTS)], voice="en-us", rate=130 + i, pitch=50)
        for i in range(len(places))
    ]
    for i, (place, spoken) in enumerate(zip(places, speak(lines), strict=True)):
        if small_letters:
            place = folder / str(place.relative_to(folder)).lower()
        place.parent.mkdir(parents=True, exist_ok=True)
        suffixes = (".wav", ".phn") if small_letters else (".WAV", ".PHN")
        samples = at_16_khz(spoken)
        (write_riff if i % 2 else write_sphere)(place.with_suffix(suffixes[0]), samples)
        place.with_suffix(suffixes[1]).write_text(transcript(spoken, len(samples)))


def at_16_khz(spoken: Spoken) -> NDArray[np.int16]:
    count = len(spoken.samples) * 320 // 441
    where = np.arange(count) * (441 / 320)
    sound: NDArray[np.float64] = np.interp(where, np.arange(len(spoken.samples)), spoken.samples)
    return sound.astype(np.int16)


def transcript(spoken: Spoken, n_samples: int) -> str:
    starts, classes = segments(spoken)
    marks = [0, *(int(start * 320 / 441) for start in starts[1:]), n_samples]
    names = [_SYMBOLS.get(CLASSES[index], CLASSES[index]) for index in classes]
    rows = zip(marks[:-1], marks[1:], names, strict=True)
    return "".join(f"{start} {end} {name}\n" for start, end, name in rows)


def write_sphere(
    path: Path, samples: NDArray[np.int16], *, order: str = "01", rate_hz: int = 16000
) -> None:
    fields = [
        "channel_count -i 1",
        f"sample_count -i {len(samples)}",
        f"sample_rate -i {rate_hz}",
        "sample_n_bytes -i 2",
        f"sample_byte_format -s2 {order}",
        "end_head",
    ]
    header = "NIST_1A\n   1024\n" + "\n".join(fields) + "\n"
    data = samples.astype(">i2" if order == "10" else "<i2")
    path.write_bytes(header.encode().ljust(1024) + data.tobytes())


def write_riff(path: Path, samples: NDArray[np.int16], rate_hz: int = 16000) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
