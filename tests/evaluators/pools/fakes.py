"""Tasks, and evaluators that a pool's process loads by name. Loads no torch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from dse.design import Choices
from dse.errors import EvaluationError
from dse.ports import Pool, Progress
from dse.tasks import CurvePoint, Outcome, Request, Retrained, Retraining, Task
from evaluators.pools.attempt import Evaluate


def request(key: str, choices: Choices | None = None, *, timeout_s: float = 60.0) -> Request:
    return Request(key=key, choices=choices, arithmetic={}, split="search", timeout_s=timeout_s)


def retraining(key: str, choices: Choices, *, timeout_s: float = 60.0) -> Retraining:
    return Retraining(
        key=key, choices=choices, arithmetic={}, steps=3, seed=1, timeout_s=timeout_s
    )


def collect(pool: Pool, count: int) -> dict[str, Outcome]:
    found: dict[str, Outcome] = {}
    end = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < end, f"only {sorted(found)} came back"
        found |= {outcome.key: outcome for outcome in pool.poll(1.0)}
    return found


class Unpicklable(Exception):
    """Cannot cross a process, nor even be told."""

    def __init__(self) -> None:
        self.cause = lambda: None

    def __str__(self) -> str:
        raise RuntimeError("no text either")


def echo() -> Evaluate:
    """Answer with the length of the key, or a design's sum if it has one: as an error, or as
    weights of that size."""
    return _echo


def obedient(folder: str = ".") -> Evaluate:
    """Do what the task's key says: "echo-…", "raise-…", "nan-…", "sleep-SECONDS-…"."""

    def evaluate(task: Task, progress: Progress) -> Mapping[str, float] | Retrained:
        order, _, rest = task.key.partition("-")
        if order == "sleep":
            time.sleep(float(rest.partition("-")[0]))
        elif order in _DEEDS:
            _DEEDS[order]()
        elif order == "once":
            _die_the_first_time(Path(folder) / task.key)
        elif order == "nan":
            return {"error": float("nan")}
        elif order == "pid":
            return {"error": float(os.getpid())}
        elif order == "tell":
            for done in range(1, 1001):
                progress("telling", done, 1000)
        elif order == "work":
            _work_on(progress)
        return _echo(task, progress)

    return evaluate


def refusing() -> NoReturn:
    raise EvaluationError("the corpus has been eaten")


def sleeping() -> Evaluate:
    """Take longer to load than anybody waits."""
    time.sleep(600)
    return _echo


def hoarding() -> Evaluate:
    """Take much memory to load."""
    _hoard()
    return _echo


def dying() -> NoReturn:
    os._exit(7)


def dying_once(folder: str) -> Evaluate:
    _die_the_first_time(Path(folder) / "load")
    return _echo


def _echo(task: Task, progress: Progress) -> Mapping[str, float] | Retrained:
    choices = task.choices or {}
    total = sum(int(value) for values in choices.values() for value in values.values())
    if isinstance(task, Retraining):
        point = CurvePoint(step=task.steps, loss=0.5, error=float(total))
        return Retrained(digest="0" * 64, size=total, best_step=task.steps, curve=(point,))
    return {"error": float(total or len(task.key))}


def _work_on(progress: Progress) -> NoReturn:
    end, done = time.monotonic() + 60, 0
    while time.monotonic() < end:
        done += 1
        progress("working", done, 10_000)
        time.sleep(0.01)
    raise AssertionError("nobody stopped it")


def _die_the_first_time(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def _fork_and_die() -> None:
    """End, but for a grandchild that holds the pipe for a while."""
    if os.fork():
        os._exit(9)
    time.sleep(20)
    os._exit(0)


def _raise() -> NoReturn:
    raise ValueError("bits must be 2..8, got 9")


def _raise_huge() -> NoReturn:
    raise ValueError("x" * 10_000_000)


def _raise_unpicklable() -> NoReturn:
    raise Unpicklable


def _have_a_child() -> None:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(60)


def _hoard() -> None:
    hoard = bytearray(300 * 2**20)
    hoard[:: 2**12] = b"x" * len(hoard[:: 2**12])
    time.sleep(60)


def _ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)


_DEEDS: Mapping[str, Callable[[], None]] = {
    "family": _have_a_child,
    "hoard": _hoard,
    "raise": _raise,
    "huge": _raise_huge,
    "unpicklable": _raise_unpicklable,
    "stubborn": _ignore_sigterm,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "exit": lambda: os._exit(3),
    "fork": _fork_and_die,
    "print": lambda: print("noise on standard output", flush=True),
}
