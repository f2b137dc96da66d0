"""Tasks on their way through a pool, and what becomes of those whose process dies.

What is in flight is stored before it runs, so that a death leaves a trace. A design that was in
flight when a process died (its own, or the driver's) runs again alone; only deaths alone count
against it, and the third makes it infeasible. Random kills therefore never change a result.

A retraining takes long enough to be hit again and again, and goes on where it was: its death
counts only if it had come no further than the death before.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import final

from dse.errors import Interrupted, StoreError
from dse.ports import Pool, RunStore
from dse.tasks import Outcome, Report, Request, Status, Task

_POLL_S = 0.5


@final
class Dispatch:
    """One batch of tasks.

    Args:
        progress: told how many tasks are done.
        report: told what tasks in flight say of themselves.
    """

    def __init__(
        self,
        pool: Pool,
        store: RunStore,
        progress: Callable[[int], None],
        report: Callable[[Report], None],
    ) -> None:
        self._pool = pool
        self._store = store
        self._progress = progress
        self._report = report
        self._done: dict[str, int] = {}
        self._looked = time.monotonic()

    def run(self, tasks: Sequence[Task], *, suspects: set[str]) -> Iterator[Outcome]:
        """Yield one stored outcome a task, in order of arrival.

        Args:
            suspects: keys that run alone from the start.

        Raises:
            Interrupted: a stop was asked for; nothing is in flight any more.
        """
        lonely = deque(task for task in tasks if task.key in suspects)
        done = 0
        self._progress(done)
        try:
            for outcome in self._together([t for t in tasks if t.key not in suspects], lonely):
                done += 1
                self._progress(done)
                yield outcome
            while lonely:
                yield self._alone(lonely.popleft())
                done += 1
                self._progress(done)
        except BaseException:
            self._pool.cancel()
            raise

    def _together(self, tasks: Sequence[Task], lonely: deque[Task]) -> Iterator[Outcome]:
        waiting = deque(tasks)
        flying: dict[str, Task] = {}
        while waiting or flying:
            # twice as many as run at once: none waits for us, few are suspects if we die
            if len(flying) <= self._pool.capacity:
                batch = [waiting.popleft() for _ in range(min(len(waiting), self._pool.capacity))]
                self._submit(batch, alone=False)
                flying |= {task.key: task for task in batch}
            for outcome in self._poll():
                task = flying.pop(outcome.key)
                if outcome.status is Status.LOST:
                    self._store.died(task.key, alone=False)
                    lonely.append(task)
                else:
                    yield self._stored(task, outcome)

    def _alone(self, task: Task) -> Outcome:
        self._submit([task], alone=True)
        reached = self._done.get(task.key, 0)
        try:
            while True:
                for outcome in self._poll():
                    if outcome.status is not Status.LOST:
                        return self._stored(task, outcome)
                    further = self._done.get(task.key, 0) > reached
                    reached = max(reached, self._done.get(task.key, 0))
                    self._store.died(task.key, alone=not further)
                    verdict = self._store.verdicts([task.key]).get(task.key)
                    if verdict is not None:
                        reason = verdict.removeprefix(f"{Status.POISONED}: ")
                        return replace(outcome, status=Status.POISONED, reason=reason)
                    self._submit([task], alone=True)
        except BaseException:
            # we stop it: that is no death of its own
            with suppress(StoreError):
                self._store.dispatched([task.key], alone=False)
            raise

    def _submit(self, tasks: Sequence[Task], *, alone: bool) -> None:
        if alone:
            # who dies while the pool still loads did not die of this design
            self._pool.warm()
        if tasks:
            # whoever finds a driver dead cannot know how far its retraining came: no death then
            told = alone and all(isinstance(task, Request) for task in tasks)
            self._store.dispatched([task.key for task in tasks], alone=told)
            self._pool.submit(tasks)

    def _poll(self) -> list[Outcome]:
        if time.monotonic() - self._looked >= _POLL_S:
            self._looked = time.monotonic()
            if self._store.stop_requested():
                raise Interrupted("stopped on request; everything finished is stored")
        outcomes = self._pool.poll(_POLL_S)
        for report in self._pool.reports():
            self._done[report.key] = max(self._done.get(report.key, 0), report.done)
            self._report(report)
        return outcomes

    def _stored(self, task: Task, outcome: Outcome) -> Outcome:
        if isinstance(task, Request):
            self._store.record(outcome, split=task.split, choices=task.choices)
        else:
            self._store.record_retraining(outcome, task)
        return outcome
