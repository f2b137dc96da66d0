"""Running tasks, each paid for once: what the store knows is not run again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from dse.dispatch import Dispatch
from dse.ports import Pool, RunStore, Vault
from dse.tasks import Outcome, Report, Request, Retrained, Task

Progress = Callable[[int, int], None]


def unreported(done: int, total: int) -> None:
    """Be the progress of what is too short to be told of."""


@dataclass(slots=True)
class Results:
    """What became of tasks, by key: each key is in exactly one of the three.

    Attributes:
        metrics: of requests.
        retrained: of retrainings.
        reasons: why there is nothing, of either.
        recalled: how many of them the store answered.
    """

    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    retrained: dict[str, Retrained] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    recalled: int = 0

    def __contains__(self, key: str) -> bool:
        return key in self.metrics or key in self.retrained or key in self.reasons

    def take(self, outcome: Outcome) -> None:
        if outcome.metrics is not None:
            self.metrics[outcome.key] = dict(outcome.metrics)
        elif outcome.retrained is not None:
            self.retrained[outcome.key] = outcome.retrained
        else:
            self.reasons[outcome.key] = outcome.verdict


@final
class Runner:
    """Runs one job's tasks.

    Args:
        report: told what tasks in flight say of themselves.
    """

    def __init__(
        self, *, pool: Pool, store: RunStore, vault: Vault, report: Callable[[Report], None]
    ) -> None:
        self._pool = pool
        self._store = store
        self._vault = vault
        self._report = report
        self._suspects: set[str] | None = None

    def run(self, tasks: Sequence[Task], progress: Progress = unreported) -> Results:
        """Run what the store does not know; store each outcome as it comes.

        Weights that the store knows but the vault has not are made again.

        Args:
            progress: told how many are done, of how many that must run.
        """
        if self._suspects is None:
            # before any verdict is read: a third death alone makes one
            self._suspects = self._store.suspects()
        results = self._recall(tasks)
        missing = {task.key: task for task in tasks if task.key not in results}
        if missing:
            dispatch = Dispatch(self._pool, self._store, _of(progress, len(missing)), self._report)
            for outcome in dispatch.run(list(missing.values()), suspects=self._suspects):
                results.take(outcome)
        return results

    def _recall(self, tasks: Sequence[Task]) -> Results:
        requests = [task.key for task in tasks if isinstance(task, Request)]
        others = [task.key for task in tasks if not isinstance(task, Request)]
        results = Results(metrics=self._store.recall(requests))
        if others:
            known: Mapping[str, Retrained] = self._store.recall_retrainings(others)
            results.retrained |= {k: r for k, r in known.items() if self._vault.intact(r.digest)}
        results.recalled = len(results.metrics) + len(results.retrained)
        results.reasons = self._store.verdicts(t.key for t in tasks if t.key not in results)
        return results


def _of(progress: Progress, total: int) -> Callable[[int], None]:
    return lambda done: progress(done, total)
