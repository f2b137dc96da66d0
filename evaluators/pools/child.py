"""What runs in a pool's process: load the evaluator, then answer requests one by one.

Over the pipe the child first sends None once it has loaded, or a text and ends if it cannot;
after that one Outcome for each Request. It ends with its parent, however that ends: an idle
child reads the end of the pipe, a busy one is killed by the kernel (Linux) or finds the pipe
closed when it answers.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from typing import cast

from dse.ports import Outcome, Request
from evaluators.pools.attempt import Evaluate, attempt, describe
from evaluators.pools.lifeline import die_with


def serve(
    connection: "Connection[None | str | Outcome, Request]",
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
            connection.send(attempt(evaluate, connection.recv()))


def _load(target: str) -> Callable[..., Evaluate]:
    module, _, attribute = target.partition(":")
    return cast(Callable[..., Evaluate], getattr(import_module(module), attribute))
