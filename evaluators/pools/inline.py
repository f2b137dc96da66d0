from collections.abc import Sequence
from typing import final

from dse.ports import Outcome, Request
from evaluators.pools.attempt import Evaluate, attempt
from evaluators.pools.backlog import Backlog


@final
class InlinePool:
    """Evaluates in the calling process, one request a `poll`.

    It cannot stop an evaluation: one that overruns its timeout is told as such afterwards.
    """

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._backlog = Backlog()
        self._closed = False

    @property
    def capacity(self) -> int:
        return 1

    def warm(self) -> None:
        """Return at once: the evaluator is here."""

    def submit(self, requests: Sequence[Request]) -> None:
        if self._closed:
            raise ValueError("the pool is closed")
        self._backlog.add(requests)

    def poll(self, timeout_s: float) -> list[Outcome]:
        if not self._backlog.waiting:
            return []
        outcomes = [attempt(self._evaluate, self._backlog.take())]
        self._backlog.answer(outcomes)
        return outcomes

    def cancel(self) -> None:
        self._backlog.clear()

    def close(self) -> None:
        self.cancel()
        self._closed = True
