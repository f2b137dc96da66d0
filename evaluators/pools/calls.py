"""One function, called in a process of its own: what it does there harms nobody."""

import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Final

from dse.errors import CacheError, EvaluationError, Interrupted, SpecError, WeightsError
from dse.ports import Progress
from dse.tasks import Report
from evaluators.pools.attempt import describe
from evaluators.pools.child import Answer, Message, answer
from evaluators.pools.slot import Slot

_LOOK_S: Final = 0.5
_KINDS: Final = {
    kind.__name__: kind for kind in (SpecError, CacheError, WeightsError, Interrupted)
} | {"UnknownNameError": SpecError}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long a child may tell nothing, and how much memory it may hold.

    Attributes:
        silence_s: seconds without progress after which it is taken to hang.
        memory_mib: resident memory, looked at twice a second.
    """

    silence_s: float = 600.0
    memory_mib: float = 8192.0


def call(
    target: str, arguments: tuple[object, ...], *, limits: Limits, progress: Progress
) -> object:
    """Call a function in a spawned process and return what it returns.

    Args:
        target: "package.module:function"; it takes the arguments, then a progress.
        arguments: plain data.
        progress: told what the function tells, "preparing" before that; twice a second again,
            so that it may raise to end the child while that is silent.

    Raises:
        SpecError, CacheError, WeightsError, Interrupted: the function raised one; an
            UnknownNameError comes as SpecError.
        EvaluationError: it raised anything else, died, fell silent, took too much memory or
            returned what cannot be read here.
    """
    slot = Slot(target, arguments, main=answer)
    try:
        return _read(_await(slot, limits, progress))
    finally:
        Slot.end([slot])


def _await(slot: Slot, limits: Limits, progress: Progress) -> Answer:
    heard = time.monotonic()
    last = Report(key="", label="preparing", done=0, total=1)
    while True:
        wait([slot.connection, slot.sentinel], _LOOK_S)
        dead = slot.dead
        message = _hear(slot)
        if isinstance(message, Answer):
            return message
        if isinstance(message, Report):
            last, heard = message, time.monotonic()
        elif dead:  # what it has started itself may hold the pipe open
            raise EvaluationError(f"its process {slot.death()}")
        progress(last.label, last.done, last.total)
        if time.monotonic() - heard > limits.silence_s:
            raise EvaluationError(
                f"its process was ended: it told of no progress for {limits.silence_s:g} s"
            )
        if (used := slot.memory_mib()) > limits.memory_mib:
            raise EvaluationError(
                f"its process was ended: it held {used:.0f} MiB of memory, "
                f"allowed are {limits.memory_mib:g}"
            )


def _hear(slot: Slot) -> Message:
    try:
        return slot.connection.recv() if slot.connection.poll() else None
    except (EOFError, ConnectionError):
        raise EvaluationError(f"its process {slot.death()}") from None
    except Exception as error:  # unpickling raises whatever the classes of what was sent raise
        raise EvaluationError(
            f"its process sent what cannot be read: {describe(error)}; allowed: plain data"
        ) from error


def _read(told: Answer) -> object:
    if told.error is None:
        return told.value
    raise _KINDS.get(told.error, EvaluationError)(told.reason)
