import os
import stat
from pathlib import Path

import pytest

from api.files import check_target, write_text
from dse.errors import DseError, SpecError


def test_file_is_written_whole_and_alone(tmp_path: Path) -> None:
    write_text(tmp_path / "a.json", "ü\n")

    assert (tmp_path / "a.json").read_text(encoding="utf-8") == "ü\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_what_stood_there_is_replaced_through_links(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    (tmp_path / "link").symlink_to("a.json")

    write_text(tmp_path / "link", "new")

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a.json").read_text() == "new"


def test_failure_leaves_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_text("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DseError, match=r"cannot write .*a\.json: No space left on device"):
        write_text(tmp_path / "a.json", "new")

    assert (tmp_path / "a.json").read_text() == "old"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_device_is_written_to_and_stays_a_device() -> None:
    check_target(Path(os.devnull))
    write_text(Path(os.devnull), "gone")

    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_long_names_have_room_for_an_unfinished_file(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 255)

    check_target(target)
    write_text(target, "x")

    assert [path.name for path in tmp_path.iterdir()] == ["a" * 255]


@pytest.mark.parametrize("name", [".", "..", "nowhere/x", "file/x", "a" * 256])
def test_target_that_cannot_be_is_refused_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(SpecError, match=name[:50]):
        check_target(tmp_path / name)
    with pytest.raises(DseError, match="cannot write"):
        write_text(tmp_path / name, "x")

    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
