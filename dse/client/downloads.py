"""Files that the client writes: complete and checked, or not there."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import httpx

from dse.client.errors import ServerError
from dse.errors import DseError


def save(response: httpx.Response, path: Path) -> Path:
    """Write the body of an answer whose ETag is its SHA-256 (hex).

    Raises:
        ServerError: the body is not what its ETag says.
        DseError: the file cannot be written.
    """
    told = response.headers.get("ETag", "").removeprefix("W/").strip('"')
    found = hashlib.sha256(response.content).hexdigest()
    if found != told:
        raise ServerError(
            f"{response.url.path} arrived with SHA-256 {found}, its ETag says {told or 'nothing'}",
            status=response.status_code,
        )
    _replace(path, response.content)
    return path


def _replace(path: Path, content: bytes) -> None:
    target = Path(os.path.realpath(path))
    unfinished = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    try:
        if target.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        with unfinished.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
    except OSError as error:
        raise DseError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
