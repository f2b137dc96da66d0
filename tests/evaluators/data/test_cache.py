import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dse.errors import CacheError
from dse.ports import silent
from evaluators.data.cache import Cache, Parts
from tests.evaluators.data.limits import small_files


class Maker:
    def __init__(self, size: int = 1000) -> None:
        self.calls = 0
        self.size = size

    def __call__(self) -> Parts:
        self.calls += 1
        values = torch.arange(self.size, dtype=torch.float32)
        return {"a": {"x": values}, "b": {"y": -values, "n": torch.tensor([3])}}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def files(cache: Cache) -> list[str]:
    return sorted(p.name for p in cache.folder.rglob("*") if p.is_file() and p.name != "lock")


def test_second_fetch_reads_what_the_first_one_wrote(cache: Cache) -> None:
    make = Maker()

    first = cache.fetch("kind", "key", "a", make, silent)
    second = cache.fetch("kind", "key", "b", make, silent)

    assert make.calls == 1
    assert torch.equal(first.tensors["x"], -second.tensors["y"])
    assert second.tensors["n"].tolist() == [3]
    assert first.digest == cache.fetch("kind", "key", "a", make, silent).digest != second.digest
    assert files(cache) == ["a.tensors", "b.tensors"]


def test_another_key_is_another_entry(cache: Cache) -> None:
    make = Maker()

    cache.fetch("kind", "one", "a", make, silent)
    cache.fetch("kind", "two", "a", make, silent)

    assert make.calls == 2


@pytest.mark.parametrize("position", [0, 70, 100, -1])
def test_flipped_byte_is_detected_and_the_file_made_again(
    cache: Cache, caplog: pytest.LogCaptureFixture, position: int
) -> None:
    make = Maker()
    digest = cache.fetch("kind", "key", "a", make, silent).digest
    path = cache.folder / "kind" / "key" / "a.tensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)

    with caplog.at_level(logging.WARNING):
        again = cache.fetch("kind", "key", "a", make, silent)

    assert (again.digest, make.calls) == (digest, 2)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path} is damaged (another hash): it is made again"
    ]


@pytest.mark.parametrize("length", [0, 10, 65, 2000])
def test_truncated_file_is_made_again(cache: Cache, length: int) -> None:
    make = Maker()
    cache.fetch("kind", "key", "a", make, silent)
    path = cache.folder / "kind" / "key" / "a.tensors"
    os.truncate(path, length)

    again = cache.fetch("kind", "key", "a", make, silent)

    assert make.calls == 2
    assert torch.equal(again.tensors["x"], torch.arange(1000.0))


def test_full_disk_is_a_clear_error_and_leaves_no_file(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(CacheError, match=r"cannot write .*a\.tensors: No space left on device"):
        cache.fetch("kind", "key", "a", Maker(), silent)

    assert files(cache) == []


def test_write_that_stops_half_way_leaves_no_file(cache: Cache) -> None:
    with (
        small_files(1 << 16),
        pytest.raises(CacheError, match=r"cannot write .*a\.tensors: File too large"),
    ):
        cache.fetch("kind", "key", "a", Maker(size=1 << 16), silent)

    assert files(cache) == []


def test_unusable_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")

    with pytest.raises(CacheError, match=r"cannot (read|write below) .*Not a directory"):
        Cache(tmp_path / "cache").fetch("kind", "key", "a", Maker(), silent)


def test_error_while_making_leaves_nothing_and_frees_the_lock(cache: Cache) -> None:
    def broken() -> Parts:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.fetch("kind", "key", "a", broken, silent)

    assert files(cache) == []
    assert cache.fetch("kind", "key", "a", Maker(), silent).tensors["x"].shape == (1000,)


_RIVAL = """
import sys, time
from pathlib import Path
import torch
from evaluators.data.cache import Cache

def make():
    print("made", flush=True)
    time.sleep(0.5)
    return {"a": {"x": torch.ones(3)}}

told = []
cache = Cache(Path(sys.argv[1]))
cache.fetch("kind", "key", "a", make, lambda label, done, total: told.append(label))
print(*dict.fromkeys(told), flush=True)
"""


@pytest.mark.slow
def test_of_two_processes_one_makes_the_entry_and_the_other_waits(cache: Cache) -> None:
    rivals = [
        subprocess.Popen(
            [sys.executable, "-c", _RIVAL, str(cache.folder)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]

    said = [rival.communicate(timeout=60)[0] for rival in rivals]

    assert [rival.returncode for rival in rivals] == [0, 0]
    assert sum(text.count("made") for text in said) == 1
