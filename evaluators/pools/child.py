"""What runs in a pool's process: load the evaluator, then do tasks one by one.

Over the pipe the child first sends None once it has loaded, or a text and ends if it cannot;
after that, for each Task, some Reports and one Outcome. It ends with its parent, however that
ends: an idle child reads the end of the pipe, a busy one is killed by the kernel (Linux) or finds
the pipe closed when it speaks.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Final, cast, final

from dse.tasks import Outcome, Report, Task
from evaluators.pools.attempt import Evaluate, attempt, describe
from evaluators.pools.lifeline import die_with

Message = Outcome | Report | str | None
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with(parent)
    os.dup2(2, 1)  # standard output belongs to the command that the user ran
    with suppress(EOFError, OSError):
        try:
            evaluate = _load(target)(*arguments)
        except Exception as error:
            connection.send(describe(error))
            return
        connection.send(None)
        while True:
            task = connection.recv()
            connection.send(attempt(evaluate, task, _Teller(connection, task.key)))


@final
class _Teller:
    """Sends a task's progress to the pool, at most twice a second."""

    def __init__(self, connection: "Connection[Message, Task]", key: str) -> None:
        self._connection = connection
        self._key = key
        self._told = float("-inf")

    def __call__(self, label: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._told >= _QUIET_S:
            self._told = now
            self._connection.send(Report(key=self._key, label=label, done=done, total=total))


def _load(target: str) -> Callable[..., Evaluate]:
    module, _, attribute = target.partition(":")
    return cast(Callable[..., Evaluate], getattr(import_module(module), attribute))
