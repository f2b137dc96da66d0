from pathlib import Path

import numpy as np
import pytest

from dse.errors import SpecError
from dse.ports import silent
from evaluators.data.phones import CLASSES, INDEX
from evaluators.data.timit import Timit, read_phones, read_sound
from tests.evaluators.data.timit_folder import write_riff, write_sphere, write_timit

SAMPLES = np.array([0, 1, -2, 300, -32768, 32767], dtype=np.int16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("timit")
    write_timit(path)
    return path


def corpus(folder: Path, sentences: int = 100) -> Timit:
    return Timit(folder=folder, sentences=sentences, seed=0)


def test_splits_share_no_speaker_and_leave_sa_sentences_out(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []

    splits = corpus(folder).build(lambda label, done, total: told.append((label, done, total)))

    # 3 training speakers, one of them apart for search, and 1 test speaker, 4 sentences each.
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 8,
        "search": 4,
        "test": 4,
    }
    assert told[-1] == ("computing features", 16, 16)


def test_utterance_has_a_label_a_frame_and_phones_without_silence(folder: Path) -> None:
    for utterance in corpus(folder).build(silent)["train"]:
        assert utterance.features.shape == (len(utterance.labels), 80)
        assert 12 <= len(utterance.phones) <= 40
        assert INDEX["sil"] not in utterance.phones.tolist()


def test_small_letters_read_the_same(folder: Path, tmp_path: Path) -> None:
    write_timit(tmp_path, small_letters=True)

    capital = corpus(folder).build(silent)
    small = corpus(tmp_path).build(silent)

    for name, split in capital.items():
        for one, other in zip(split, small[name], strict=True):
            assert one.phones.tolist() == other.phones.tolist()
            assert one.features.tolist() == other.features.tolist()


def test_fewer_training_sentences_may_be_asked_for(folder: Path) -> None:
    splits = corpus(folder, sentences=5).build(silent)

    assert {name: len(split) for name, split in splits.items()} == {
        "train": 5,
        "search": 4,
        "test": 4,
    }


def test_identity_changes_with_a_file(tmp_path: Path) -> None:
    write_timit(tmp_path, sentences=1)
    before = corpus(tmp_path).identity()
    assert before == corpus(tmp_path).identity()

    phones = tmp_path / "TRAIN/DR1/FABC0/SX1.PHN"
    phones.write_text(phones.read_text() + "99999 99999 h#\n")

    assert corpus(tmp_path).identity() != before


def test_missing_parts_are_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"DSE_TIMIT: .* must hold TRAIN"):
        corpus(tmp_path / "nowhere").build(silent)

    (tmp_path / "train").mkdir()
    with pytest.raises(SpecError, match=r"must hold <region>/<speaker>/\*\.WAV"):
        corpus(tmp_path).identity()

    write_timit(tmp_path, sentences=1)
    (tmp_path / "TRAIN/DR1/FABC0/SX1.PHN").unlink()
    with pytest.raises(SpecError, match=r"FABC0 must hold SX1\.PHN"):
        Timit(folder=tmp_path, sentences=20, seed=0).identity()


def test_one_training_speaker_is_too_few(tmp_path: Path) -> None:
    for part in ("TRAIN", "TEST"):
        speaker = tmp_path / part / "DR1" / "FABC0"
        speaker.mkdir(parents=True)
        write_sphere(speaker / "SX1.WAV", np.zeros(8000, dtype=np.int16))
        (speaker / "SX1.PHN").write_text("0 8000 h#\n")

    with pytest.raises(SpecError, match="at least 2 speakers below TRAIN, got 1"):
        corpus(tmp_path).build(silent)


@pytest.mark.parametrize("order", ["01", "10"])
def test_sphere_file_reads_in_either_byte_order(tmp_path: Path, order: str) -> None:
    write_sphere(tmp_path / "a.wav", SAMPLES, order=order)

    assert read_sound(tmp_path / "a.wav").tolist() == SAMPLES.tolist()


def test_riff_file_reads(tmp_path: Path) -> None:
    write_riff(tmp_path / "a.wav", SAMPLES)

    assert read_sound(tmp_path / "a.wav").tolist() == SAMPLES.tolist()


def test_other_sample_rate_is_refused(tmp_path: Path) -> None:
    write_sphere(tmp_path / "a.wav", SAMPLES, rate_hz=8000)
    write_riff(tmp_path / "b.wav", SAMPLES, rate_hz=8000)

    for name in ("a.wav", "b.wav"):
        with pytest.raises(SpecError, match="at 16000 Hz in 1 channel, got 16-bit pcm at 8000 Hz"):
            read_sound(tmp_path / name)


@pytest.mark.parametrize(
    "content", [b"", b"no sound at all", b"RIFF\x10\x00\x00\x00WAVEfmt ", b"NIST_1A\n"]
)
def test_other_sound_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)

    with pytest.raises(SpecError, match=r"a\.wav must"):
        read_sound(tmp_path / "a.wav")


def test_phone_file_folds_to_classes(tmp_path: Path) -> None:
    (tmp_path / "a.phn").write_text("0 10 h#\n10 30 zh\n30 35 Q\n35 50 ax-h\n")

    starts, classes = read_phones(tmp_path / "a.phn")

    assert starts.tolist() == [0, 10, 30, 35]
    assert [CLASSES[index] for index in classes] == ["sil", "sh", "sil", "ah"]


@pytest.mark.parametrize("line", ["0 10", "0 10 xyz", "a 10 aa", "0 10 aa aa"])
def test_malformed_phone_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.phn").write_text(f"0 5 h#\n{line}\n")

    with pytest.raises(SpecError, match=r"a\.phn: line 2 must be `start end phone`"):
        read_phones(tmp_path / "a.phn")


def test_empty_phone_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.phn").write_text("")

    with pytest.raises(SpecError, match="at least one phone, got none"):
        read_phones(tmp_path / "a.phn")
