"""Files that a command writes for its user: complete or not there."""

import os
from pathlib import Path

from dse.errors import DseError, SpecError


def check_target(path: Path) -> None:
    """See to it that `path` can be written before the work that fills it begins.

    Raises:
        SpecError: its folder does not exist or takes no file, or it is a folder itself.
    """
    try:
        if path.is_dir():
            raise SpecError(f"{path} must be a file, got a folder")
        if not path.absolute().parent.is_dir():
            raise SpecError(f"the folder of {path} must exist")
        if not _is_special(path):
            unfinished = _unfinished(path)
            unfinished.touch()
            unfinished.unlink()
    except OSError as error:
        raise SpecError(f"cannot write {path}: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step: what stood there before stays until the new one is complete.

    Raises:
        DseError: it cannot be written.
    """
    try:
        if _is_special(path):
            path.write_bytes(content)
        else:
            _replace(path, content)
    except OSError as error:
        raise DseError(f"cannot write {path}: {error.strerror}") from error


def _replace(path: Path, content: bytes) -> None:
    unfinished = _unfinished(path)
    try:
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(os.path.realpath(path))
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _is_special(path: Path) -> bool:
    # a rename onto /dev/stdout or a named pipe would put a file in its place
    return path.exists() and not (path.is_file() or path.is_dir())


def _unfinished(path: Path) -> Path:
    target = Path(os.path.realpath(path))
    return target.with_name(f".{target.name[:200]}.{os.getpid()}")
