import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import final

from dse.design import Choices, Value
from dse.errors import EvaluationError, SpecError
from dse.tasks import Outcome, Report, Retraining, Status, Task
from evaluators.pools.attempt import timed_out
from evaluators.pools.backlog import Backlog
from evaluators.pools.child import Message
from evaluators.pools.slot import Slot

ACCURACY = "evaluators.tasks:make_evaluator"
"""Target of a real search; its arguments are (workload, params, places)."""

_LOAD_ATTEMPTS = 3
_WEIGH_S = 0.5
_LOOK_S = 1.0


@final
class ProcessPool:
    """Evaluates in spawned processes, one long-lived child a slot.

    Children start when there is work for them and load the evaluator once. A child that dies or
    overruns a timeout costs the one task it worked on; another takes its place. Submit and
    poll from one thread: on Linux a child is killed when the thread that started it ends.
    """

    def __init__(
        self,
        target: str,
        *,
        arguments: tuple[object, ...] = (),
        slots: int | None = None,
        memory_mib: float | None = None,
        load_s: float | None = None,
    ) -> None:
        """Say what the children run; none is started yet.

        Args:
            target: "package.module:function" that returns the evaluator's function.
            arguments: plain data that the function is called with.
            slots: children at the same time; the cores open to this process if None.
            memory_mib: resident memory at which a child is killed, looked at twice a second.
            load_s: seconds that a child may take to load; one that takes longer, or more memory,
                is killed, and the evaluator counts as one that cannot be loaded.
        """
        if slots is not None and slots < 1:
            raise SpecError(f"slots must be at least 1, got {slots}")
        self._target = target
        self._arguments = arguments
        self._capacity = available_cores() if slots is None else slots
        self._memory_mib = float("inf") if memory_mib is None else memory_mib
        self._load_s = float("inf") if load_s is None else load_s
        self._weighed = time.monotonic()
        self._backlog = Backlog()
        self._slots: list[Slot] = []
        self._finished: list[Outcome] = []
        self._reports: dict[str, Report] = {}
        self._failed_loads = 0
        self._closed = False

    @property
    def capacity(self) -> int:
        return self._capacity

    def warm(self) -> None:
        """Wait until a child has loaded.

        Raises:
            EvaluationError: the evaluator cannot be loaded.
        """
        while not any(slot.ready for slot in self._slots):
            if not self._slots:
                self._slots.append(Slot(self._target, self._arguments))
            self._receive(_WEIGH_S)
            self._expire()
            self._weigh()

    def submit(self, tasks: Sequence[Task]) -> None:
        if self._closed:
            raise ValueError("the pool is closed")
        self._backlog.add([_plain(task) for task in tasks])
        self._dispatch()

    def poll(self, timeout_s: float) -> list[Outcome]:
        """Return what has finished, waiting at most `timeout_s` for the first.

        Raises:
            EvaluationError: the evaluator cannot be loaded.
        """
        end = time.monotonic() + timeout_s
        while self._backlog.unanswered:
            self._receive(0.0 if self._finished else self._patience(end))
            self._expire()
            self._weigh()
            self._dispatch()
            if self._finished or time.monotonic() >= end:
                break
        outcomes, self._finished = self._finished, []
        self._backlog.answer(outcomes)
        return outcomes

    def reports(self) -> list[Report]:
        """Return the latest that each task has told of itself since the last call, as far as
        `poll` has heard of it."""
        reports, self._reports = list(self._reports.values()), {}
        return reports

    def cancel(self) -> None:
        self._forget()
        self._end([slot for slot in self._slots if slot.task is not None])

    def close(self) -> None:
        self._closed = True
        self._forget()
        self._end(list(self._slots))

    def _forget(self) -> None:
        self._backlog.clear()
        self._finished.clear()
        self._reports.clear()

    def _dispatch(self) -> None:
        for slot in [slot for slot in self._slots if slot.idle]:
            if not self._backlog.waiting:
                return
            self._send(slot, self._backlog.take())
        loading = sum(not slot.ready for slot in self._slots)
        free = self._capacity - len(self._slots)
        for _ in range(min(free, self._backlog.waiting - loading)):
            self._slots.append(Slot(self._target, self._arguments))

    def _send(self, slot: Slot, task: Task) -> None:
        try:
            slot.send(task)
        except OSError:
            # It died while idle: the task has not begun and loses nothing.
            self._backlog.put_back(task)
            self._end([slot])

    def _patience(self, end: float) -> float:
        deadlines = [slot.deadline for slot in self._slots if slot.task is not None]
        deadlines += [slot.started + self._load_s for slot in self._slots if not slot.ready]
        if self._memory_mib < float("inf"):
            deadlines.append(self._weighed + _WEIGH_S)
        return max(0.0, min([end, *deadlines]) - time.monotonic())

    def _receive(self, timeout_s: float) -> None:
        # a dead child's pipe and sentinel stay open while what it has forked holds them
        connections = [slot.connection for slot in self._slots]
        sentinels = [slot.sentinel for slot in self._slots]
        ready = wait([*connections, *sentinels], min(timeout_s, _LOOK_S))
        for slot in list(self._slots):
            if slot.connection in ready or slot.dead:
                self._listen(slot)

    def _listen(self, slot: Slot) -> None:
        # to the end: behind a report may stand the outcome of a task that is about to expire
        dead = slot.dead
        try:
            while slot.connection.poll():
                self._hear(slot, slot.connection.recv())
        except (EOFError, ConnectionError):
            dead = True
        if dead:
            self._bury(slot)

    def _hear(self, slot: Slot, message: Message) -> None:
        if isinstance(message, Report):
            self._reports[message.key] = message
        elif isinstance(message, Outcome):
            self._finished.append(message)
            slot.task = None
        elif message is None:
            slot.ready = True
            self._failed_loads = 0
        else:
            self._end([slot])
            raise EvaluationError(f"the evaluator cannot be loaded: {message}")

    def _bury(self, slot: Slot) -> None:
        death = f"the evaluator's process {slot.death()}"
        task, ready = slot.task, slot.ready
        self._end([slot])
        if task is not None:
            seconds = time.monotonic() - slot.started
            self._finished.append(
                Outcome(key=task.key, status=Status.LOST, reason=death, seconds=seconds)
            )
        elif not ready:
            self._failed_loads += 1
            if self._failed_loads >= _LOAD_ATTEMPTS:
                raise EvaluationError(f"{death} while loading, {self._failed_loads} times over")

    def _expire(self) -> None:
        now = time.monotonic()
        for slot in list(self._slots):
            if slot.task is not None and slot.deadline <= now:
                self._finished.append(timed_out(slot.task, now - slot.started))
                self._end([slot])
            elif not slot.ready and slot.started + self._load_s <= now:
                self._end([slot])
                raise EvaluationError(
                    f"the evaluator cannot be loaded: it took more than {self._load_s:g} s"
                )

    def _weigh(self) -> None:
        now = time.monotonic()
        if now - self._weighed < _WEIGH_S or self._memory_mib == float("inf"):
            return
        self._weighed = now
        for slot in list(self._slots):
            if not slot.idle and (used := slot.memory_mib()) > self._memory_mib:
                reason = f"{used:.0f} MiB of memory, allowed are {self._memory_mib:g}"
                self._end([slot])
                if slot.task is None:
                    raise EvaluationError(f"the evaluator cannot be loaded: it took {reason}")
                outcome = Outcome(
                    key=slot.task.key,
                    status=Status.OOM,
                    reason=reason,
                    seconds=now - slot.started,
                )
                self._finished.append(outcome)

    def _end(self, slots: Sequence[Slot]) -> None:
        Slot.end(slots)
        self._slots = [slot for slot in self._slots if slot not in slots]


def available_cores() -> int:
    """Return how many cores this process may run on."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _plain(task: Task) -> Task:
    """Copy the task's mappings into dicts: a frozen design's own do not pickle."""
    arithmetic = {layer: dict(said) for layer, said in task.arithmetic.items()}
    if isinstance(task, Retraining):
        return replace(task, choices=_dicts(task.choices), arithmetic=arithmetic)
    choices = None if task.choices is None else _dicts(task.choices)
    return replace(task, choices=choices, arithmetic=arithmetic)


def _dicts(choices: Choices) -> dict[str, dict[str, Value]]:
    return {knob: dict(values) for knob, values in choices.items()}
