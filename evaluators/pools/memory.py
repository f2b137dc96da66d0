"""What children have told, so that none is asked the same twice."""

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar, cast, final

from dse.errors import DseError

T = TypeVar("T")

_REFUSAL_S: Final = 60.0


@final
class Memory:
    """Answers by key. A refusal is remembered for a minute: whoever lists a hanging plug-in twice
    waits once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: dict[str, threading.Lock] = {}
        self._answers: dict[str, object] = {}
        self._refusals: dict[str, tuple[float, DseError]] = {}

    def ask(self, key: str, question: Callable[[], T]) -> T:
        """Return what `question` answers, asking it if nothing is known. Threads that want the
        same wait for one of them.

        Raises:
            DseError: the question's own.
        """
        with self._lock:
            asked = self._asked.setdefault(key, threading.Lock())
        with asked:
            if key in self._answers:
                return cast(T, self._answers[key])
            at, refusal = self._refusals.get(key, (float("-inf"), None))
            if refusal is not None and time.monotonic() - at < _REFUSAL_S:
                raise type(refusal)(*refusal.args)
            try:
                answer = question()
            except DseError as error:
                self._refusals[key] = time.monotonic(), error
                raise
            self._answers[key] = answer
            return answer
