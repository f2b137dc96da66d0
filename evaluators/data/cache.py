"""Files under DSE_HOME that can be made again: named by content key, checked by hash.

A file is one header line (the SHA-256 of what follows, in hex) and a safetensors document. Hash
and content travel in one rename, so a reader never sees one without the other.
"""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dse.errors import CacheError
from dse.ports import Progress

_log = logging.getLogger(__name__)
_SUFFIX = ".tensors"
_UNFINISHED = ".tmp"

Parts = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Stored:
    """A part of an entry.

    Attributes:
        digest: SHA-256 (hex) of the file's content.
    """

    tensors: Mapping[str, Tensor]
    digest: str


@dataclass(frozen=True, slots=True)
class Cache:
    """Entries `folder / kind / key`, each of one or more parts that are made together."""

    folder: Path

    def find(self, kind: str, key: str, part: str) -> Stored | None:
        """Return a part of an entry if it is there and whole.

        Raises:
            CacheError: the file cannot be read.
        """
        return read_tensors(self.folder / kind / key / f"{part}{_SUFFIX}")

    def fetch(
        self, kind: str, key: str, part: str, make: Callable[[], Parts], progress: Progress
    ) -> Stored:
        """Return a part of an entry, making the whole entry if the part is missing or damaged.

        Of several processes that want the same entry, one makes it and the others wait.

        Args:
            make: yields every part of the entry by name; the same key must yield the same.

        Raises:
            CacheError: the folder cannot be read or written.
        """
        entry = self.folder / kind / key
        path = entry / f"{part}{_SUFFIX}"
        found = read_tensors(path)
        if found is not None:
            return found
        with _alone(entry, progress):
            found = read_tensors(path)
            if found is None:
                if path.exists():
                    _log.warning("%s is damaged (another hash): it is made again", path)
                for name, tensors in make().items():
                    write_tensors(entry / f"{name}{_SUFFIX}", tensors)
                found = read_tensors(path)
        if found is None:
            raise CacheError(f"cannot read back {path}, which was written a moment ago")
        return found


def read_tensors(path: Path) -> Stored | None:
    """Return what `write_tensors` wrote; None if it is missing or damaged.

    Raises:
        CacheError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"cannot read {path}: {error.strerror}") from error
    header, _, document = content.partition(b"\n")
    digest = hashlib.sha256(document).hexdigest()
    if header != digest.encode():
        return None
    try:
        return Stored(load(document), digest)
    except SafetensorError as error:
        raise CacheError(f"cannot read {path}: {error}; allowed: delete it") from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write to a temporary name, flush to the disk, rename: all or nothing. One writer at a
    time.

    Raises:
        CacheError: the file cannot be written.
    """
    document = save(dict(tensors))
    temporary = path.with_name(f"{path.name}{_UNFINISHED}")
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(document).hexdigest().encode() + b"\n")
            file.write(document)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CacheError(f"cannot write {path}: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _taken(lock: FileLock, *, timeout_s: float) -> bool:
    try:
        lock.acquire(timeout=timeout_s)
    except Timeout:
        return False
    return True


@contextmanager
def _alone(entry: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(entry / "lock")
    try:
        entry.mkdir(parents=True, exist_ok=True)
        waits = 0
        while not _taken(lock, timeout_s=min(waits, 1)):
            waits += 1
            progress("waiting for another process", 0, 1)
        if waits:
            progress("waiting for another process", 1, 1)
    except OSError as error:
        raise CacheError(f"cannot write below {entry}: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()
