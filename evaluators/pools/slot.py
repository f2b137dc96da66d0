import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import final

import psutil

from dse.errors import EvaluationError
from dse.tasks import Task
from evaluators.pools.child import Message, serve

Main = Callable[["Connection[Message, Task]", str, tuple[object, ...], int], None]
"""What a child runs: its end of the pipe, a target, the target's arguments, its parent's id."""

_CONTEXT = multiprocessing.get_context("spawn")
_GRACE_S = 0.5


@final
class Slot:
    """One child process, as its pool sees it.

    Attributes:
        ready: it has loaded its evaluator.
        task: what it works on.
        started: when it got that task, or else began to load, by the monotonic clock.
    """

    def __init__(self, target: str, arguments: tuple[object, ...], *, main: Main = serve) -> None:
        """Start the child and return at once; it reports when it has loaded."""
        self.ready = False
        self.task: Task | None = None
        self.started = time.monotonic()
        ours, theirs = _CONTEXT.Pipe()
        self.connection: Connection[Task, Message] = ours
        self._process = _CONTEXT.Process(
            target=main, args=(theirs, target, arguments, os.getpid()), daemon=True
        )
        try:
            with _interrupts_held():
                self._process.start()
        except OSError as error:
            ours.close()
            raise EvaluationError(f"no process could be started: {error}") from error
        finally:
            theirs.close()

    @property
    def idle(self) -> bool:
        return self.ready and self.task is None

    @property
    def sentinel(self) -> int:
        """Of the process, for `multiprocessing.connection.wait`: ready once it has ended, and
        nothing that it has forked is left. `dead` knows at once."""
        return self._process.sentinel

    @property
    def dead(self) -> bool:
        return self._process.exitcode is not None

    @property
    def deadline(self) -> float:
        """When its task runs out of time, by the monotonic clock."""
        assert self.task is not None
        return self.started + self.task.timeout_s

    def send(self, task: Task) -> None:
        """Hand over a task; raises OSError if the child is gone."""
        self.connection.send(task)
        self.task = task
        self.started = time.monotonic()

    def death(self) -> str:
        """Say how the child ended, once it has or its pipe has closed."""
        self._process.join(_GRACE_S)
        code = self._process.exitcode
        if code is None:
            return "closed its pipe"
        return f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with status {code}"

    def memory_mib(self) -> float:
        """Return the resident memory of the child and of what it has started itself."""
        total = 0
        for process in self._family():
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total / 2**20

    @staticmethod
    def end(slots: "Iterable[Slot]") -> None:
        """End the children with all that they have started, by force where SIGTERM is not
        enough; no zombie stays."""
        slots = list(slots)
        ended = [slot._process for slot in slots]
        offspring = [process for slot in slots for process in slot._family()[1:]]
        for process in ended:
            process.terminate()
        patience = time.monotonic() + _GRACE_S
        for process in ended:
            process.join(max(0.0, patience - time.monotonic()))
            if process.exitcode is None:
                process.kill()
        for grandchild in offspring:
            with suppress(psutil.Error):
                grandchild.kill()
        for process in ended:
            process.join()
            process.close()
        for slot in slots:
            slot.connection.close()

    def _family(self) -> list[psutil.Process]:
        try:
            child = psutil.Process(self._process.pid)
            return [child, *child.children(recursive=True)]
        except psutil.Error:
            return []


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold SIGINT back in this thread, and for good in a child started meanwhile.

    Ctrl-C reaches the whole process group: the parent decides, a child must not die of it, not
    even before it has said so itself.
    """
    # Starting the tracker by itself first: it would lift the block on SIGINT again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
