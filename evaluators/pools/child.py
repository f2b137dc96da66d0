"""What runs in a process of a pool: load the evaluator, then do tasks one by one; or call one
function, for `evaluators.pools.calls`.

Over the pipe a pool's child first sends None once it has loaded, or a text and ends if it cannot;
after that, for each Task, some Reports and one Outcome. A called function's child sends some
Reports and one Answer. Either ends with its parent, however that ends: an idle child reads the end
of the pipe, a busy one is killed by the kernel (Linux) or finds the pipe closed when it speaks.
"""

import os
import signal
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final, cast, final

from dse.errors import DseError
from dse.tasks import Outcome, Report, Task
from evaluators.pools.attempt import Evaluate, attempt, describe
from evaluators.pools.lifeline import die_with
from evaluators.registry import load_target


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a called function.

    Attributes:
        value: what it returned: plain data.
        error: name of the exception's class, if it raised one, and `reason` its text.
    """

    value: object = None
    error: str | None = None
    reason: str = ""


Message = Outcome | Report | Answer | str | None
"""What a child sends."""

_QUIET_S: Final = 0.5


def serve(
    connection: "Connection[Message, Task]",
    target: str,
    arguments: tuple[object, ...],
    parent: int,
) -> None:
    """Be a child until the pipe closes.

    Args:
        target: "package.module:function" that returns the evaluator's function.
        arguments: what that function is called with.
        parent: process id of the pool.
    """
    _begin(parent)
    with suppress(EOFError, OSError):
        try:
            evaluate = cast(Evaluate, load_target(target)(*arguments))
        except Exception as error:
            connection.send(describe(error))
            return
        connection.send(None)
        while True:
            task = connection.recv()
            connection.send(attempt(evaluate, task, _Teller(connection, task.key)))


def answer(
    connection: "Connection[Message, Task]",
    target: str,
    arguments: tuple[object, ...],
    parent: int,
) -> None:
    """Call one function, tell what became of it, and end.

    Args:
        target: "package.module:function"; it is called with the arguments and a progress.
        parent: process id of the caller.
    """
    _begin(parent)
    with suppress(EOFError, OSError):
        try:
            value = load_target(target)(*arguments, _Teller(connection, ""))
            connection.send(Answer(value=value))
        except Exception as error:
            if not isinstance(error, DseError):
                traceback.print_exc()
            connection.send(Answer(error=type(error).__name__, reason=describe(error)))


def _begin(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
    os.dup2(2, 1)  # standard output belongs to the command that the user ran


@final
class _Teller:
    """Sends progress to the parent, at most twice a second."""

    def __init__(self, connection: "Connection[Message, Task]", key: str) -> None:
        self._connection = connection
        self._key = key
        self._told = float("-inf")

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= _QUIET_S:
            self._told = now
            self._connection.send(Report(key=self._key, label=label, done=done, total=total))
