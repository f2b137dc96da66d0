"""Requests on their way through a pool, and what becomes of those whose process dies.

What is in flight is stored before it runs, so that a death leaves a trace. A design that was in
flight when a process died (its own, or the driver's) runs again alone; only deaths alone count
against it, and the third makes it infeasible. Random kills therefore never change a result.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import final

from dse.errors import Interrupted, StoreError
from dse.ports import Outcome, Pool, Request, RunStore, Status

_POLL_S = 0.5


@final
class Dispatch:
    """One batch of requests.

    Args:
        progress: told how many requests are done.
    """

    def __init__(self, pool: Pool, store: RunStore, progress: Callable[[int], None]) -> None:
        self._pool = pool
        self._store = store
        self._progress = progress
        self._looked = time.monotonic()

    def run(self, requests: Sequence[Request], *, suspects: set[str]) -> Iterator[Outcome]:
        """Yield one stored outcome a request, in order of arrival.

        Args:
            suspects: keys that run alone from the start.

        Raises:
            Interrupted: a stop was asked for; nothing is in flight any more.
        """
        lonely = deque(r for r in requests if r.key in suspects)
        done = 0
        self._progress(done)
        try:
            for outcome in self._together([r for r in requests if r.key not in suspects], lonely):
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

    def _together(self, requests: Sequence[Request], lonely: deque[Request]) -> Iterator[Outcome]:
        waiting = deque(requests)
        flying: dict[str, Request] = {}
        while waiting or flying:
            # twice as many as run at once: none waits for us, few are suspects if we die
            if len(flying) <= self._pool.capacity:
                batch = [waiting.popleft() for _ in range(min(len(waiting), self._pool.capacity))]
                self._submit(batch, alone=False)
                flying |= {request.key: request for request in batch}
            for outcome in self._poll():
                request = flying.pop(outcome.key)
                if outcome.status is Status.LOST:
                    self._store.died(request.key, alone=False)
                    lonely.append(request)
                else:
                    yield self._stored(request, outcome)

    def _alone(self, request: Request) -> Outcome:
        self._submit([request], alone=True)
        try:
            while True:
                for outcome in self._poll():
                    if outcome.status is not Status.LOST:
                        return self._stored(request, outcome)
                    self._store.died(request.key, alone=True)
                    verdict = self._store.verdicts([request.key]).get(request.key)
                    if verdict is not None:
                        reason = verdict.removeprefix(f"{Status.POISONED}: ")
                        return replace(outcome, status=Status.POISONED, reason=reason)
                    self._submit([request], alone=True)
        except BaseException:
            # we stop it: that is no death of its own
            with suppress(StoreError):
                self._store.dispatched([request.key], alone=False)
            raise

    def _submit(self, requests: Sequence[Request], *, alone: bool) -> None:
        if alone:
            # who dies while the pool still loads did not die of this design
            self._pool.warm()
        if requests:
            self._store.dispatched([request.key for request in requests], alone=alone)
            self._pool.submit(requests)

    def _poll(self) -> list[Outcome]:
        if time.monotonic() - self._looked >= _POLL_S:
            self._looked = time.monotonic()
            if self._store.stop_requested():
                raise Interrupted("stopped on request; everything finished is stored")
        return self._pool.poll(_POLL_S)

    def _stored(self, request: Request, outcome: Outcome) -> Outcome:
        self._store.record(outcome, split=request.split, choices=request.choices)
        return outcome
