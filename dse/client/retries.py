"""When a request is sent again, and after how long."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import final

import httpx

RETRIED_STATUSES = frozenset({408, 429, 502, 503, 504})

_FIRST_S = 0.5
_LONGEST_S = 8.0
_PATIENCE_S = 60.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The clock that the client lives by.

    Attributes:
        now: seconds that only grow.
        wall: the time of day, which a server's Retry-After may refer to.
        sleep: waits for so many seconds.
        jitter: a number in [0, 1).
    """

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after so many failures: doubling, the upper half random,
        so that clients of a restarted server do not return in step."""
        whole = min(_FIRST_S * 2.0 ** min(failures - 1, 10), _LONGEST_S)
        return whole * (0.5 + 0.5 * self.jitter())

    def asked(self, response: httpx.Response) -> float | None:
        """Return the seconds that Retry-After asks for, if it can be understood."""
        told = response.headers.get("Retry-After", "").strip()
        if told.isascii() and told.isdigit():
            return float(told)
        try:
            then = parsedate_to_datetime(told)
        except ValueError:
            return None
        if then.tzinfo is None:
            then = then.replace(tzinfo=UTC)
        return max(0.0, (then - self.wall()).total_seconds())

    def pause(self, failures: int, response: httpx.Response | None) -> float | None:
        """Return the seconds until the next try; None if the server asks for too many."""
        asked = None if response is None else self.asked(response)
        if asked is None:
            return self.backoff(failures)
        return asked if asked <= _PATIENCE_S else None
