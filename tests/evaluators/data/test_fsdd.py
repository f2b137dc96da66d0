import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dse.errors import SpecError
from dse.ports import silent
from evaluators.data.fsdd import LOUDNESS, Fsdd, Recording, read_sound
from tests.evaluators.data.fsdd_folder import SPEAKERS, tone, write_fsdd, write_wav

SOUND = tone(400, 800, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fsdd") / "recordings"
    write_fsdd(path)
    return path


def described(recording: Recording) -> tuple[int, int, int]:
    # The folder's takes and speakers differ in length.
    return recording.speaker, recording.digit, len(recording.samples)


def test_splits_are_by_take_and_share_no_recording(folder: Path) -> None:
    told: list[tuple[str, int, int]] = []

    splits = Fsdd(folder, held_out="lucas").read(lambda *args: told.append(args))

    # 10 digits by 2 seen speakers, by takes 0 (test), 5 and 6 (train) and 35 (search).
    assert {name: len(split) for name, split in splits.items()} == {
        "unseen": 40,
        "test": 20,
        "train": 40,
        "search": 20,
    }
    assert len({described(one) for split in splits.values() for one in split}) == 120
    assert told[-1] == ("reading recordings", 120, 120)


@pytest.mark.parametrize("held_out", SPEAKERS)
def test_unseen_speaker_is_in_no_other_split(folder: Path, held_out: str) -> None:
    recordings = Fsdd(folder, held_out=held_out)
    apart = recordings.speakers.index(held_out)

    for name, split in recordings.read(silent).items():
        speakers = {one.speaker for one in split}
        assert speakers == {apart} if name == "unseen" else speakers == {0, 1, 2} - {apart}


def test_recordings_are_centred_and_equally_loud(folder: Path) -> None:
    for split in Fsdd(folder, held_out="lucas").read(silent).values():
        for one in split:
            assert one.samples.dtype == np.float32
            assert one.samples.mean() == pytest.approx(0, abs=1e-6)
            assert np.sqrt(np.mean(one.samples**2)) == pytest.approx(LOUDNESS, rel=1e-5)


def test_folder_that_holds_the_recordings_does_as_well(folder: Path) -> None:
    above = Fsdd(folder.parent, held_out="lucas")

    assert above.identity() == Fsdd(folder, held_out="lucas").identity()


def test_identity_is_of_names_and_contents_alone(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    shutil.copytree(folder, copy)
    os.utime(copy / "3_anna_5.wav", (1, 1))
    (copy / "notes.txt").write_text("mine")
    before = Fsdd(folder, held_out="lucas").identity()

    assert Fsdd(copy, held_out="lucas").identity() == before
    assert Fsdd(copy, held_out="anna").identity() != before

    content = bytearray((copy / "3_anna_5.wav").read_bytes())
    content[-1] ^= 1
    (copy / "3_anna_5.wav").write_bytes(content)
    assert Fsdd(copy, held_out="lucas").identity() != before


def test_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"DSE_FSDD must be the folder .* got .*nowhere: No such"):
        Fsdd(tmp_path / "nowhere", held_out="lucas")

    with pytest.raises(SpecError, match=r"must hold digit_speaker_take\.wav files, got none"):
        Fsdd(tmp_path, held_out="lucas")


@pytest.mark.parametrize("name", ["ten_anna_0.wav", "1_anna.wav", "1_anna_00.wav", "1_a_b_0.wav"])
def test_name_of_another_form_is_refused(tmp_path: Path, name: str) -> None:
    write_wav(tmp_path / name, SOUND)

    with pytest.raises(SpecError, match=rf"{name} must be named digit_speaker_take\.wav"):
        Fsdd(tmp_path, held_out="anna")


def test_speakers_must_be_two_and_known(tmp_path: Path) -> None:
    write_fsdd(tmp_path, speakers=("anna",))
    with pytest.raises(SpecError, match="held_out must be one of anna .*, got 'lucas'"):
        Fsdd(tmp_path, held_out="lucas")
    with pytest.raises(SpecError, match="at least 2 speakers, got 1"):
        Fsdd(tmp_path, held_out="anna")


@pytest.mark.parametrize(
    ("takes", "message"),
    [
        ((5, 35), r"takes 0 to 4 \(test\) of every speaker, got none of anna"),
        ((0, 35), r"takes 5 to 34 \(train\) of every speaker, got none of anna"),
        ((0, 5, 50), r"takes 35 to 49 \(search\) of every speaker, got none of anna"),
    ],
)
def test_split_without_recordings_is_named(
    tmp_path: Path, takes: tuple[int, ...], message: str
) -> None:
    write_fsdd(tmp_path, takes=takes)

    with pytest.raises(SpecError, match=message):
        Fsdd(tmp_path, held_out="lucas")


def test_sound_reads_as_written(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SOUND)

    assert read_sound(tmp_path / "a.wav").tolist() == SOUND.tolist()


def test_other_rate_or_channels_are_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "rate.wav", SOUND, rate_hz=16000)
    write_wav(tmp_path / "stereo.wav", SOUND, channels=2)

    with pytest.raises(SpecError, match="at 8000 Hz in 1 channel, got 16-bit at 16000 Hz in 1"):
        read_sound(tmp_path / "rate.wav")
    with pytest.raises(SpecError, match="got 16-bit at 8000 Hz in 2"):
        read_sound(tmp_path / "stereo.wav")


@pytest.mark.parametrize("content", [b"", b"no sound at all", b"RIFF\x10\x00\x00\x00WAVEfmt "])
def test_other_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)

    with pytest.raises(SpecError, match=r"DSE_FSDD: .*a\.wav must be a wav file: \w+"):
        read_sound(tmp_path / "a.wav")


def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").mkdir()

    with pytest.raises(SpecError, match=r"DSE_FSDD: cannot read .*a\.wav: Is a directory"):
        read_sound(tmp_path / "a.wav")


def test_empty_or_shortened_sound_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", SOUND[:0])
    with pytest.raises(SpecError, match="at least one, got 0 of 0"):
        read_sound(tmp_path / "a.wav")

    write_wav(tmp_path / "a.wav", SOUND)
    (tmp_path / "a.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:-100])
    with pytest.raises(SpecError, match="must hold the samples its header tells of"):
        read_sound(tmp_path / "a.wav")


def test_recording_without_sound_is_refused(tmp_path: Path) -> None:
    write_fsdd(tmp_path)
    write_wav(tmp_path / "3_anna_5.wav", np.full(800, 7, dtype=np.int16))

    with pytest.raises(SpecError, match=r"3_anna_5\.wav must hold sound, got 800 equal samples"):
        Fsdd(tmp_path, held_out="lucas").read(silent)
