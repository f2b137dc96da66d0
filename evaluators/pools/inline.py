from collections.abc import Sequence
from typing import final

from dse.ports import Progress, silent
from dse.tasks import Outcome, Report, Task
from evaluators.pools.attempt import Evaluate, attempt
from evaluators.pools.backlog import Backlog


@final
class InlinePool:
    """Evaluates in the calling process, one task a `poll`.

    It cannot stop an evaluation: one that overruns its timeout is told as such afterwards.
    """

    def __init__(self, evaluate: Evaluate, *, watch: Progress = silent) -> None:
        """Take what does the tasks.

        Args:
            watch: told of a task's progress while it runs. It may leave by Interrupted or a
                StoreError, and `poll` with it: the task then waits to be done from its start.
        """
        self._evaluate = evaluate
        self._watch = watch
        self._backlog = Backlog()
        self._reports: dict[str, Report] = {}
        self._closed = False

    @property
    def capacity(self) -> int:
        return 1

    def warm(self) -> None:
        """Return at once: the evaluator is here."""

    def submit(self, tasks: Sequence[Task]) -> None:
        if self._closed:
            raise ValueError("the pool is closed")
        self._backlog.add(tasks)

    def poll(self, timeout_s: float) -> list[Outcome]:
        if not self._backlog.waiting:
            return []
        outcomes = [self._run(self._backlog.take())]
        self._backlog.answer(outcomes)
        return outcomes

    def reports(self) -> list[Report]:
        """Return the latest that each task has told of itself since the last call."""
        reports, self._reports = list(self._reports.values()), {}
        return reports

    def cancel(self) -> None:
        self._backlog.clear()
        self._reports.clear()

    def close(self) -> None:
        self.cancel()
        self._closed = True

    def _run(self, task: Task) -> Outcome:
        def progress(label: str, done: int, total: int) -> None:
            self._reports[task.key] = Report(key=task.key, label=label, done=done, total=total)
            self._watch(label, done, total)

        try:
            return attempt(self._evaluate, task, progress)
        except BaseException:
            self._backlog.put_back(task)
            raise
