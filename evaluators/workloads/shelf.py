"""The folder of the workloads that were added as files: put there, replaced, taken away."""

import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from dse.errors import CacheError, SpecError, UnknownNameError
from evaluators.registry import Places
from evaluators.workloads.files import (
    MANIFEST,
    MODEL,
    Examined,
    FileWorkload,
    Manifest,
    file_digest,
    file_names,
)

MOST_BYTES: Final = 4 * 2**30
"""Of one file."""

_NAME: Final = re.compile("[a-z0-9][a-z0-9._-]{0,99}")
_UNFINISHED: Final = ".tmp"
_REPLACED: Final = ".old"
_REMOVED: Final = ".gone"


def add_files(
    name: str,
    given: Mapping[str, Path],
    *,
    metric: str,
    replace: bool,
    places: Places,
    examine: Callable[[Path, dict[str, str]], Examined],
) -> tuple[FileWorkload, Examined]:
    """Copy a workload's files into DSE_HOME: all of it under its name, or nothing.

    Args:
        given: "model", "calibration", "search", "test", and "train" if there is one -> file.
        examine: takes the folder of the copies, and what each was called; it raises what is
            wrong with them.

    Raises:
        SpecError: a name that is taken or cannot be one, or a file that cannot be used.
        CacheError: DSE_HOME cannot be written.
    """
    if not _NAME.fullmatch(name):
        raise SpecError(
            "a workload's name must be lower-case letters, digits and . _ -, at most 100, "
            f"got {name!r}"
        )
    with _alone(places.workloads):
        if name in file_names(places) and not replace:
            raise SpecError(f"workload {name!r} exists; allowed: another name, or --replace")
        folder = places.workloads / f".{name}.{secrets.token_hex(4)}{_UNFINISHED}"
        try:
            folder.mkdir()
            told = {_file(part): path.name for part, path in given.items()}
            digests = {
                _file(part): _copy(path, folder / _file(part)) for part, path in given.items()
            }
            found = examine(folder, told)
            manifest = Manifest(
                metric=metric,
                files=digests,
                samples=found.samples,
                shape=found.shape,
                floats=found.floats,
            ).sealed()
            _write(folder / MANIFEST, manifest.model_dump_json(indent=2).encode())
            _flush_names(folder)
            _put(folder, places.workloads / name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    path = places.workloads / name
    return FileWorkload(name, manifest, folder=path, places=places), found


def remove_files(name: str, places: Places) -> None:
    """Take a workload away.

    Raises:
        UnknownNameError: no workload was added under that name.
        CacheError: DSE_HOME cannot be written.
    """
    names = file_names(places)
    if name not in names:
        raise UnknownNameError("workload that was added as files", name, names)
    with _alone(places.workloads):
        _set_aside(places.workloads / name, _REMOVED)
        _flush_names(places.workloads)
        _sweep(places.workloads)


def _file(part: str) -> str:
    return MODEL if part == "model" else f"{part}.npz"


def _copy(source: Path, target: Path) -> str:
    """Copy a file and return its SHA-256 (hex)."""
    if not source.is_file():
        raise SpecError(f"{source} must be a file, and there is none")
    try:
        size = source.stat().st_size
        if size > MOST_BYTES:
            raise SpecError(f"{source} has {size} bytes; allowed: {MOST_BYTES}")
        with source.open("rb") as content, target.open("xb") as copy:
            shutil.copyfileobj(content, copy)
            copy.flush()
            os.fsync(copy.fileno())
        return file_digest(target)
    except OSError as error:
        raise SpecError(f"cannot copy {source}: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _put(folder: Path, target: Path) -> None:
    if target.exists():
        _set_aside(target, _REPLACED)
    folder.rename(target)
    _flush_names(target.parent)
    _sweep(target.parent)


def _set_aside(target: Path, suffix: str) -> None:
    target.rename(target.with_name(f".{target.name}.{secrets.token_hex(4)}{suffix}"))


def _sweep(workloads: Path) -> None:
    """Remove what is unfinished, replaced or removed. Nobody else works here meanwhile."""
    for path in workloads.glob(".*"):
        if path.suffix not in (_UNFINISHED, _REPLACED, _REMOVED):
            continue
        if path.is_symlink():
            path.unlink()
        else:
            shutil.rmtree(path, ignore_errors=True)


def _recover(workloads: Path) -> None:
    """Put back what an interrupted replacement had set aside, and sweep."""
    for path in workloads.glob(f".*{_REPLACED}"):
        name = path.name.removeprefix(".").removesuffix(_REPLACED).rpartition(".")[0]
        if not (workloads / name).exists():
            path.rename(workloads / name)
    _sweep(workloads)


@contextmanager
def _alone(workloads: Path) -> Iterator[None]:
    try:
        workloads.mkdir(parents=True, exist_ok=True)
        with FileLock(workloads / ".lock"):
            _recover(workloads)
            yield
    except CacheError:
        raise
    except OSError as error:
        raise CacheError(f"cannot write below {workloads}: {error.strerror}") from error


def _flush_names(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
