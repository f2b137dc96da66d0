import errno
import hashlib
import os
from pathlib import Path
from typing import NoReturn

import pytest

from dse.errors import CacheError, SpecError, WeightsError
from evaluators.data.vault import Vault
from tests.evaluators.data.limits import small_files

DOCUMENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(DOCUMENT).hexdigest()


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "home" / "beacons")


def _files(vault: Vault) -> list[str]:
    return sorted(path.name for path in vault.folder.iterdir())


def test_document_is_read_back_by_its_digest(vault: Vault) -> None:
    digest = vault.write(DOCUMENT)

    assert digest == DIGEST
    assert vault.read(digest) == DOCUMENT
    assert vault.intact(digest)
    assert vault.path(digest) == vault.folder / f"{DIGEST}.safetensors"
    assert _files(vault) == [f"{DIGEST}.safetensors"]


def test_writing_again_changes_nothing(vault: Vault) -> None:
    vault.write(DOCUMENT)
    before = vault.path(DIGEST).stat()

    assert vault.write(DOCUMENT) == DIGEST

    after = vault.path(DIGEST).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert _files(vault) == [f"{DIGEST}.safetensors"]


def test_missing_weights_are_told_with_their_path(vault: Vault) -> None:
    assert not vault.intact(DIGEST)
    with pytest.raises(WeightsError, match=f"missing: .*{DIGEST}.safetensors"):
        vault.read(DIGEST)


@pytest.mark.parametrize("position", [0, 5000, -1])
def test_flipped_byte_is_detected_and_mended_by_the_next_writer(
    vault: Vault, position: int
) -> None:
    vault.write(DOCUMENT)
    content = bytearray(DOCUMENT)
    content[position] ^= 1
    vault.path(DIGEST).write_bytes(content)

    assert not vault.intact(DIGEST)
    with pytest.raises(WeightsError, match=f"altered: .*{DIGEST}"):
        vault.read(DIGEST)

    vault.write(DOCUMENT)
    assert vault.read(DIGEST) == DOCUMENT


def test_truncated_weights_are_detected(vault: Vault) -> None:
    vault.write(DOCUMENT)
    os.truncate(vault.path(DIGEST), 100)

    assert not vault.intact(DIGEST)
    with pytest.raises(WeightsError, match="altered"):
        vault.read(DIGEST)


def test_weights_that_are_no_file_are_a_clear_error(vault: Vault) -> None:
    vault.path(DIGEST).mkdir(parents=True)

    assert not vault.intact(DIGEST)
    with pytest.raises(WeightsError, match="cannot read weights .*Is a directory"):
        vault.read(DIGEST)


@pytest.mark.parametrize(
    "digest", ["", "../../etc/passwd", DIGEST[:-1], DIGEST + "0", DIGEST.upper(), DIGEST + "\n"]
)
def test_no_digest_leads_out_of_the_folder(vault: Vault, digest: str) -> None:
    for use in (vault.path, vault.read, vault.intact):
        with pytest.raises(SpecError, match="64 lower-case hexadecimal digits"):
            use(digest)


def test_full_disk_is_a_clear_error_and_leaves_no_file(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(CacheError, match=f"cannot write .*{DIGEST}.*No space left on device"):
        vault.write(DOCUMENT)

    assert _files(vault) == []


def test_write_that_stops_half_way_leaves_no_file(vault: Vault) -> None:
    with small_files(4096), pytest.raises(CacheError, match="cannot write .*File too large"):
        vault.write(DOCUMENT)

    assert _files(vault) == []


def test_unusable_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "beacons").write_text("a file where the folder should be")

    with pytest.raises(CacheError, match=r"cannot write .*(File exists|Not a directory)"):
        Vault(tmp_path / "beacons").write(DOCUMENT)


def test_interrupted_write_leaves_no_file(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)

    with pytest.raises(KeyboardInterrupt):
        vault.write(DOCUMENT)

    assert _files(vault) == []


def test_sweep_removes_what_killed_writers_left_and_nothing_else(vault: Vault) -> None:
    vault.write(DOCUMENT)
    os.utime(vault.path(DIGEST), (0, 0))
    stale, fresh = (vault.folder / f"{DIGEST}.{name}.tmp" for name in ("old", "young"))
    for file in (stale, fresh):
        file.write_bytes(DOCUMENT[:10])
    os.utime(stale, (0, 0))

    vault.sweep()

    assert _files(vault) == sorted([f"{DIGEST}.safetensors", fresh.name])
    assert vault.read(DIGEST) == DOCUMENT


def test_sweep_of_a_folder_that_is_not_there_does_nothing(vault: Vault) -> None:
    vault.sweep()

    assert not vault.folder.exists()
