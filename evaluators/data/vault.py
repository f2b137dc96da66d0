"""Beacon weights under DSE_HOME, each in a file named by the SHA-256 of its content."""

import hashlib
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from dse.errors import CacheError, SpecError, WeightsError

_DIGEST: Final = re.compile("[0-9a-f]{64}")
_SUFFIX: Final = ".safetensors"
_UNFINISHED: Final = ".tmp"
_STALE_S: Final = 3600.0


@final
@dataclass(frozen=True, slots=True)
class Vault:
    """Files `folder / <sha256>.safetensors`; fulfils `dse.ports.Vault`. What is in a file is its
    writer's business.

    A digest that is not 64 lower-case hexadecimal digits is a SpecError, so that none leads out
    of the folder.
    """

    folder: Path

    def write(self, document: bytes) -> str:
        """Keep a document and return its SHA-256 (hex). It is on the disk, whole, under its name
        or not there at all; a file that was altered is replaced.

        Raises:
            CacheError: the folder cannot be written.
        """
        digest = hashlib.sha256(document).hexdigest()
        path = self.path(digest)
        if self.intact(digest):
            return digest
        # writers of the same document do not meet: each has a name of its own
        temporary = path.with_name(f"{digest}.{secrets.token_hex(8)}{_UNFINISHED}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as file:
                file.write(document)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _flush_names(self.folder)
        except OSError as error:
            raise CacheError(f"cannot write {path}: {error.strerror}") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        return digest

    def read(self, digest: str) -> bytes:
        """Return the document with this SHA-256.

        Raises:
            WeightsError: it is missing, altered or cannot be read.
        """
        path = self.path(digest)
        try:
            document = path.read_bytes()
        except FileNotFoundError as error:
            raise WeightsError(f"weights are missing: {path} does not exist") from error
        except OSError as error:
            raise WeightsError(f"cannot read weights {path}: {error.strerror}") from error
        found = hashlib.sha256(document).hexdigest()
        if found != digest:
            raise WeightsError(f"weights are altered: {path} has SHA-256 {found}")
        return document

    def intact(self, digest: str) -> bool:
        """Tell whether the document with this SHA-256 is there, unaltered and readable."""
        try:
            with self.path(digest).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == digest
        except OSError:
            return False

    def path(self, digest: str) -> Path:
        """Return where the document with this SHA-256 lies, if it is there."""
        if not _DIGEST.fullmatch(digest):
            raise SpecError(f"digest must be 64 lower-case hexadecimal digits, got {digest!r}")
        return self.folder / f"{digest}{_SUFFIX}"

    def sweep(self) -> None:
        """Remove what writers that were killed left unfinished, once it is an hour old: a live
        writer takes seconds. What cannot be removed stays."""
        for path in self.folder.glob(f"*{_UNFINISHED}"):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - _STALE_S:
                    path.unlink()


def _flush_names(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
