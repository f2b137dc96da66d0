"""The heart of a driver: keeps its lease and hears what is asked of its job."""

import threading
import time
from types import TracebackType
from typing import Literal, final

from sqlalchemy import Connection, Engine, select

from dse.errors import FencedOutError, StoreError
from storage.engine import connect_reading
from storage.leases import Lease, renew
from storage.tables import JobRow, JobState

Request = Literal["cancel", "pause"]

_BEATS_A_LEASE = 4
# SQLite answers without a network, and nothing else tells its readers of a change.
_POLL_S = {"sqlite": 0.25, "postgresql": 1.0}


@final
class Heart:
    """Renews a lease from a thread of its own until it is closed, and watches for requests.

    A database that is locked or away for less than the lease's length does no harm.

        with Heart(engine, lease) as heart:
            while not heart.lost() and heart.requested is None: ...
    """

    def __init__(self, engine: Engine, lease: Lease) -> None:
        self._engine = engine
        self._lease = lease
        self._stop = threading.Event()
        self._lost = threading.Event()
        self._requested: Request | None = None
        self._renewed = time.monotonic()
        poll_s = _POLL_S.get(engine.dialect.name, 1.0)
        self._every_s = lease.length_s / _BEATS_A_LEASE
        self._poll_s = min(poll_s, self._every_s)
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Heart":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def lost(self) -> bool:
        """Tell whether the job is another's, or the lease could not be renewed while it lasted:
        write nothing more."""
        late = time.monotonic() - self._renewed > self._lease.length_s
        if late and not self._stop.is_set():
            self._lost.set()
        return self._lost.is_set()

    @property
    def requested(self) -> Request | None:
        """What the driver shall do; to cancel goes before to pause."""
        return self._requested

    def close(self) -> None:
        """End the thread and its connections; the lease stands until it is released."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not (self._stop.is_set() or self._lost.is_set()):
            try:
                with self._engine.connect() as writer, connect_reading(self._engine) as reader:
                    self._beat_on(writer, reader)
            except FencedOutError:
                self._lost.set()
            except StoreError:
                # The next try comes with fresh connections; `lost` tells when it is too late.
                self._stop.wait(self._poll_s)

    def _beat_on(self, writer: Connection, reader: Connection) -> None:
        due = self._renewed + self._every_s
        while not self._stop.wait(self._poll_s):
            self._listen(reader)
            now = time.monotonic()
            if now >= due:
                with writer.begin():
                    renew(writer, self._lease)
                self._renewed, due = now, now + self._every_s

    def _listen(self, reader: Connection) -> None:
        with reader.begin():
            flags = reader.execute(_FLAGS.where(JobRow.id == self._lease.job_id)).one_or_none()
        if flags is None or (flags.owner, flags.attempt, flags.state) != (
            self._lease.owner,
            self._lease.attempt,
            JobState.LEASED,
        ):
            raise FencedOutError(f"job {self._lease.job_id} is held by another process")
        asked: Request | None = "pause" if flags.pause_requested else None
        self._requested = "cancel" if flags.cancel_requested else asked


_FLAGS = select(
    JobRow.owner,
    JobRow.attempt,
    JobRow.state,
    JobRow.cancel_requested,
    JobRow.pause_requested,
)
