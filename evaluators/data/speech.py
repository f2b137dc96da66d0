"""An open-vocabulary corpus of synthetic speech in noise, split by sentence.

Half of the words of the search, test and unseen sentences occur in no training sentence; the
unseen split is spoken by voices that the others do not use.
"""

import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dse.errors import EvaluationError
from dse.ports import Progress
from evaluators.data.espeak import SAMPLE_RATE_HZ, Line, Spoken, speak
from evaluators.data.phones import ESPEAK
from evaluators.data.utterances import Utterance, label

# Variants f2, f3 and f5 carry random breath noise and give other audio on every run.
SEEN_VOICES = ("en-us", "en-us+f1", "en-us+f4", "en-us+m3", "en-us+m7")
UNSEEN_VOICES = ("en-us+m1", "en-us+m2")
_RECIPE = 1
_RATES_WPM = (140, 210)
_PITCHES = (30, 70)
_WORDS = (4, 7)
_SNR_DB = (0.0, 15.0)
_SHUFFLE, _SENTENCES, _NOISE = range(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """What decides the corpus.

    Attributes:
        sentences: training sentences.
        held_out: sentences of each of search, test and unseen.
        seed: of words, voices and noise.
    """

    sentences: int
    held_out: int
    seed: int

    def identity(self) -> dict[str, object]:
        """Return all that the corpus depends on, as JSON data."""
        return {
            "recipe": _RECIPE,
            "sentences": self.sentences,
            "held_out": self.held_out,
            "seed": self.seed,
            "packages": {name: _version(name) for name in ("espeakng-loader", "wonderwords")},
        }

    def build(self, progress: Progress) -> dict[str, list[Utterance]]:
        """Synthesise the splits train, search, test and unseen.

        Raises:
            EvaluationError: a package is missing or the synthesiser fails.
        """
        script = compose(self)
        lines = [line for split in script.values() for line in split]
        order = [name for name, split in script.items() for _ in split]
        splits: dict[str, list[Utterance]] = {name: [] for name in script}
        with closing(_heard(lines, progress)) as spoken:
            for index, (name, one) in enumerate(zip(order, spoken, strict=True)):
                random = np.random.default_rng([self.seed, _NOISE, index])
                splits[name].append(_utterance(one, random))
                progress("computing features", index + 1, len(lines))
        return splits


def compose(speech: Speech) -> dict[str, list[Line]]:
    """Return the sentences of each split with their voices, in the order of synthesis."""
    train, search, test = _vocabulary(speech.seed)
    plan = (
        ("train", speech.sentences, train, SEEN_VOICES),
        ("search", speech.held_out, search, SEEN_VOICES),
        ("test", speech.held_out, test, SEEN_VOICES),
        ("unseen", speech.held_out, test, UNSEEN_VOICES),
    )
    return {
        name: [
            _line((vocabulary, train), voices[i % len(voices)], random)
            for random in [np.random.default_rng([speech.seed, _SENTENCES, number])]
            for i in range(count)
        ]
        for number, (name, count, vocabulary, voices) in enumerate(plan)
    }


def words() -> list[str]:
    """Return the package wonderwords' nouns, verbs and adjectives of 3 to 12 plain letters,
    without its list of profanities, sorted.

    Raises:
        EvaluationError: the package is missing.
    """
    spec = find_spec("wonderwords")
    if spec is None or not spec.submodule_search_locations:
        raise EvaluationError(
            "the vocabulary needs the package wonderwords, which is not installed; "
            "allowed: pip install 'beacon-dse[server]'"
        )
    assets = Path(spec.submodule_search_locations[0]) / "assets"
    found = set[str]().union(*(_listed(assets, name) for name in ("noun", "verb", "adjective")))
    plain = {word for word in found if re.fullmatch("[a-z]{3,12}", word)}
    return sorted(plain - _listed(assets, "profanity"))


def _listed(assets: Path, kind: str) -> set[str]:
    return set((assets / f"{kind}list.txt").read_text(encoding="utf-8").split("\n"))


def _version(package: str) -> str:
    # A missing package is reported by whoever comes to need it.
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _vocabulary(seed: int) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    shuffled = np.random.default_rng([seed, _SHUFFLE]).permutation(words()).tolist()
    first, second = len(shuffled) * 8 // 10, len(shuffled) * 9 // 10
    return shuffled[:first], shuffled[first:second], shuffled[second:]


def _line(
    vocabularies: tuple[Sequence[str], ...], voice: str, random: np.random.Generator
) -> Line:
    count = random.integers(*_WORDS, endpoint=True)
    chosen = [_pick(vocabularies[position % 2], random) for position in range(count)]
    return Line(
        text=" ".join(chosen),
        voice=voice,
        rate=int(random.integers(*_RATES_WPM, endpoint=True)),
        pitch=int(random.integers(*_PITCHES, endpoint=True)),
    )


def _pick(vocabulary: Sequence[str], random: np.random.Generator) -> str:
    return vocabulary[int(random.integers(len(vocabulary)))]


def _heard(lines: Sequence[Line], progress: Progress) -> Generator[Spoken]:
    with closing(speak(lines)) as spoken:
        for done, one in enumerate(spoken, start=1):
            progress("synthesising speech", done, len(lines))
            yield one


def _utterance(spoken: Spoken, random: np.random.Generator) -> Utterance:
    audio = np.divide(spoken.samples, 32768, dtype=np.float32)
    noise = random.standard_normal(len(audio), dtype=np.float32)
    loudness = np.sqrt(np.mean(np.square(audio)))
    audio += noise * np.float32(loudness * 10 ** (-random.uniform(*_SNR_DB) / 20))
    starts, classes = segments(spoken)
    return label(audio, starts, classes, SAMPLE_RATE_HZ)


def segments(spoken: Spoken) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return first sample and class of each phone: (n_phones,) each.

    A symbol of two phones is cut at 60 %; phones without length are dropped. What comes
    before the first phone is not covered.
    """
    starts: list[float] = []
    classes: list[int] = []
    ends = [start for start, _ in spoken.phones[1:]] + [len(spoken.samples)]
    for (start, mnemonic), end in zip(spoken.phones, ends, strict=True):
        folded = ESPEAK.get(mnemonic.lstrip("',"))
        if folded is None:
            raise EvaluationError(f"eSpeak NG's phone {mnemonic!r} belongs to no known class")
        if end > start:
            starts += [start + 0.6 * part * (end - start) for part in range(len(folded))]
            classes += folded
    return np.array(starts), np.array(classes, dtype=np.int64)
