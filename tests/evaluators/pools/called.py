"""Functions that a child calls by name. Loads no torch."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from dse import errors
from dse.ports import Progress


def add(first: int, second: int, progress: Progress) -> int:
    print("noise on standard output", flush=True)
    progress("adding", 1, 2)
    return first + second


def fail(kind: str, progress: Progress) -> None:
    if kind == "UnknownNameError":
        raise errors.UnknownNameError("split", "x", ["search"])
    known: Callable[[str], Exception] = getattr(errors, kind, None) or ValueError
    raise known("as asked")


def tell(seconds: float, progress: Progress) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        progress("telling", 1, 2)
        time.sleep(0.05)
    return "done"


def be_silent(mark: Path | None, progress: Progress) -> None:
    progress("about to be silent", 1, 2)
    if mark is not None:
        mark.write_text(str(os.getpid()))
    time.sleep(600)


def be_silent_from_the_start(progress: Progress) -> None:
    time.sleep(600)


def fork_and_die(progress: Progress) -> None:
    """End, but for a grandchild that holds the pipe for a while."""
    if os.fork():
        os._exit(9)
    time.sleep(20)
    os._exit(0)


class Unreadable:
    """Pickles well and cannot be read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return int, ("no number",)


def give_what_cannot_be_read(progress: Progress) -> object:
    return Unreadable()


def die(progress: Progress) -> None:
    os._exit(3)


def hoard(progress: Progress) -> None:
    held = bytearray(300 * 2**20)
    held[:: 2**12] = b"x" * len(held[:: 2**12])
    time.sleep(600)


def give_what_cannot_cross(progress: Progress) -> object:
    return lambda: None
