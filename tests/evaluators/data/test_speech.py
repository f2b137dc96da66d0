import numpy as np
import pytest
import torch

from dse.errors import EvaluationError
from evaluators.data import speech
from evaluators.data.espeak import Spoken
from evaluators.data.phones import CLASSES, INDEX
from evaluators.data.speech import SEEN_VOICES, UNSEEN_VOICES, Speech, compose, segments, words


def test_vocabulary_is_plain_words_without_profanities() -> None:
    found = words()

    assert len(found) == 7862
    assert found == sorted(set(found))
    assert all(3 <= len(word) <= 12 and word.isalpha() and word.islower() for word in found)
    assert "aardvark" in found
    assert "bastard" not in found


def test_every_second_word_of_a_held_out_sentence_is_unseen() -> None:
    script = compose(Speech(sentences=300, held_out=40, seed=0))

    train = {word for line in script["train"] for word in line.text.split()}
    unseen = {
        name: {word for line in script[name] for word in line.text.split()[::2]}
        for name in ("search", "test", "unseen")
    }
    assert not train & (unseen["search"] | unseen["test"] | unseen["unseen"])
    assert not unseen["search"] & (unseen["test"] | unseen["unseen"])


def test_splits_have_the_sizes_voices_and_manners_asked_for() -> None:
    script = compose(Speech(sentences=25, held_out=10, seed=3))

    assert {name: len(lines) for name, lines in script.items()} == {
        "train": 25,
        "search": 10,
        "test": 10,
        "unseen": 10,
    }
    for name, lines in script.items():
        voices = UNSEEN_VOICES if name == "unseen" else SEEN_VOICES
        assert [line.voice for line in lines[: len(voices)]] == list(voices)
        assert all(4 <= len(line.text.split()) <= 7 for line in lines)
        assert all(140 <= line.rate <= 210 and 30 <= line.pitch <= 70 for line in lines)


def test_script_follows_from_the_seed() -> None:
    first = Speech(sentences=20, held_out=8, seed=1)

    assert compose(first) == compose(first)
    assert compose(first) != compose(Speech(sentences=20, held_out=8, seed=2))


def test_corpus_is_reproducible_and_reports_its_progress() -> None:
    told: list[tuple[str, int, int]] = []
    recipe = Speech(sentences=5, held_out=2, seed=0)

    splits = recipe.build(lambda label, done, total: told.append((label, done, total)))
    again = recipe.build(lambda label, done, total: None)

    assert {name: len(split) for name, split in splits.items()} == {
        "train": 5,
        "search": 2,
        "test": 2,
        "unseen": 2,
    }
    for name, split in splits.items():
        for one, other in zip(split, again[name], strict=True):
            assert torch.equal(one.features, other.features)
            assert torch.equal(one.labels, other.labels)
            assert len(one.features) == len(one.labels) > 40
    assert [entry for entry in told if entry[1] == 11] == [
        ("synthesising speech", 11, 11),
        ("computing features", 11, 11),
    ]


def test_symbol_of_two_phones_is_cut_at_60_percent() -> None:
    spoken = Spoken(
        samples=np.zeros(1000, dtype=np.int16),
        phones=((0, "h"), (100, "'O@"), (600, "_:"), (1000, "_")),
    )

    starts, classes = segments(spoken)

    assert starts.tolist() == [0, 100, 400, 600]
    assert [CLASSES[index] for index in classes] == ["hh", "ao", "r", "sil"]


def test_phone_without_length_is_dropped() -> None:
    spoken = Spoken(
        samples=np.zeros(300, dtype=np.int16), phones=((0, "s"), (100, "t"), (100, "i:"))
    )

    starts, classes = segments(spoken)

    assert starts.tolist() == [0, 100]
    assert classes.tolist() == [INDEX["s"], INDEX["iy"]]


def test_unknown_mnemonic_is_an_error() -> None:
    spoken = Spoken(samples=np.zeros(300, dtype=np.int16), phones=((0, "x^"),))

    with pytest.raises(EvaluationError, match=r"'x\^' belongs to no known class"):
        segments(spoken)


def test_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "find_spec", lambda name: None)

    with pytest.raises(EvaluationError, match=r"wonderwords.*pip install 'beacon-dse\[server\]'"):
        words()
