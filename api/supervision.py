"""Keeps worker processes running beside the service."""

import logging
import os
import subprocess
import sys
import threading
import time
from typing import final

from sqlalchemy import Engine

from dse.errors import StoreError
from storage.losses import free_dead_owners

log = logging.getLogger(__name__)

_LOOK_S = 0.2
_PATIENCE_S = 10.0
_BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 10.0)
_STEADY_S = 60.0


@final
class Supervisor:
    """Starts `count` workers, and another one whenever one ends by itself.

    A worker that ended unasked gives its jobs back at once: nobody waits for its leases.
    """

    def __init__(self, engine: Engine, *, count: int, slots: int | None) -> None:
        self._engine = engine
        self._count = count
        self._slots = slots
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the workers: each releases the job in hand, or is killed after a while."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        # the kernel ends the workers with the thread that started them, so one thread does all
        workers = [_Worker(self._slots) for _ in range(self._count)]
        while not self._stop.wait(_LOOK_S):
            if any([worker.restart_if_ended() for worker in workers]):
                self._free_leases()
        for worker in workers:
            worker.process.terminate()
        deadline = time.monotonic() + _PATIENCE_S
        for worker in workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _free_leases(self) -> None:
        try:
            free_dead_owners(self._engine)
        except StoreError as error:
            log.warning("leases of ended workers stay until they run out: %s", error)


@final
class _Worker:
    """A worker process and its successors."""

    def __init__(self, slots: int | None) -> None:
        options = [] if slots is None else ["--slots", str(slots)]
        self._command = [sys.executable, "-m", "api.cli", "worker", *options]
        self._command += ["--child-of", str(os.getpid())]
        self._ends = 0
        self._ended_at: float | None = None
        self.process = self._start()

    def restart_if_ended(self) -> bool:
        """Start it again if it has ended; tell whether it had."""
        code = self.process.poll()
        if code is None:
            return False
        if self._ended_at is None:
            lived = time.monotonic() - self._started
            self._ends = 0 if lived > _STEADY_S else self._ends + 1
            self._ended_at = time.monotonic()
            log.warning("a worker ended with status %d; another takes its place", code)
            return True
        pause = _BACKOFF_S[min(self._ends, len(_BACKOFF_S) - 1)]
        if time.monotonic() - self._ended_at >= pause:
            self._ended_at = None
            self.process = self._start()
        return False

    def _start(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        return subprocess.Popen(self._command)
