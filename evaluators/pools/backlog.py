from collections import deque
from collections.abc import Sequence
from typing import final

from dse.tasks import Outcome, Task


@final
class Backlog:
    """The tasks that wait, and the keys of all that the pool has not yet answered."""

    def __init__(self) -> None:
        self._waiting: deque[Task] = deque()
        self._keys: set[str] = set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def unanswered(self) -> int:
        return len(self._keys)

    def add(self, tasks: Sequence[Task]) -> None:
        """Queue tasks, all or none.

        Raises:
            ValueError: a key is there twice or is still unanswered.
        """
        keys = set(self._keys)
        for task in tasks:
            if task.key in keys:
                raise ValueError(f"task keys must differ, got {task.key!r} again")
            keys.add(task.key)
        self._keys = keys
        self._waiting.extend(tasks)

    def take(self) -> Task:
        return self._waiting.popleft()

    def put_back(self, task: Task) -> None:
        self._waiting.appendleft(task)

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        self._keys.difference_update(outcome.key for outcome in outcomes)

    def clear(self) -> None:
        self._waiting.clear()
        self._keys.clear()
