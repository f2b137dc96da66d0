from collections import deque
from collections.abc import Sequence
from typing import final

from dse.ports import Outcome, Request


@final
class Backlog:
    """The requests that wait, and the keys of all that the pool has not yet answered."""

    def __init__(self) -> None:
        self._waiting: deque[Request] = deque()
        self._keys: set[str] = set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def unanswered(self) -> int:
        return len(self._keys)

    def add(self, requests: Sequence[Request]) -> None:
        """Queue requests, all or none.

        Raises:
            ValueError: a key is there twice or is still unanswered.
        """
        keys = set(self._keys)
        for request in requests:
            if request.key in keys:
                raise ValueError(f"request keys must differ, got {request.key!r} again")
            keys.add(request.key)
        self._keys = keys
        self._waiting.extend(requests)

    def take(self) -> Request:
        return self._waiting.popleft()

    def put_back(self, request: Request) -> None:
        self._waiting.appendleft(request)

    def answer(self, outcomes: Sequence[Outcome]) -> None:
        self._keys.difference_update(outcome.key for outcome in outcomes)

    def clear(self) -> None:
        self._waiting.clear()
        self._keys.clear()
