"""A worker: claims jobs, one after another, and drives each to its end."""

import logging
import time
from contextlib import suppress
from importlib import metadata
from typing import final

from sqlalchemy import Engine

from api import scratch
from api.driving import Drive
from api.settings import Settings
from dse.catalogue import Catalogue
from dse.errors import FencedOutError, Interrupted, StoreError, StoreUnavailableError
from dse.ports import silent
from evaluators.pools.processes import available_cores
from storage.leases import Lease, claim_next
from storage.losses import sweep
from storage.owners import Owner
from storage.workers import beat_worker, forget_worker, register_worker

log = logging.getLogger(__name__)

_IDLE_S = 0.5
_LOOK_S = 5.0


@final
class Worker:
    """Serves the queue until its process is asked to stop.

    Args:
        slots: evaluation processes of a job; None: one a core.
    """

    def __init__(
        self, engine: Engine, settings: Settings, catalogue: Catalogue, *, slots: int | None
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._catalogue = catalogue
        self._slots = slots
        self._owner = Owner.current()
        self._looked = float("-inf")

    def run(self, *, until_idle: bool = False) -> None:
        """Drive jobs; `until_idle`: return when the queue is empty.

        SIGTERM and Ctrl-C release the job in hand; then Interrupted or KeyboardInterrupt.
        """
        try:
            while True:
                lease = self._next()
                if lease is not None:
                    self._drive(lease)
                elif until_idle:
                    return
                else:
                    time.sleep(_IDLE_S)
        finally:
            with suppress(StoreError):
                forget_worker(self._engine, self._owner.id)

    def _next(self) -> Lease | None:
        try:
            if time.monotonic() - self._looked >= _LOOK_S:
                self._look_after()
                self._looked = time.monotonic()
            return claim_next(self._engine, self._owner, length_s=self._settings.lease_s)
        except StoreUnavailableError as error:
            log.warning("%s; trying again", error)
            return None

    def _look_after(self) -> None:
        """Tell that this worker is there, and free the jobs whose drivers are not."""
        if not beat_worker(self._engine, self._owner.id):
            slots = available_cores() if self._slots is None else self._slots
            register_worker(self._engine, self._owner, slots=slots, versions=_versions())
        for lost in sweep(self._engine):
            log.warning("job %s is %s: %s", lost.job_id, lost.state, lost.reason)
        scratch.sweep(self._engine, self._settings.places)

    def _drive(self, lease: Lease) -> None:
        log.info("job %s: driving, attempt %d", lease.job_id, lease.attempt)
        try:
            drive = Drive(
                self._engine,
                lease,
                self._settings,
                self._catalogue,
                processes=self._slots,
                progress=silent,
                patient=True,
            )
            state = drive.run()
        except (KeyboardInterrupt, Interrupted):
            raise
        except FencedOutError as error:
            log.warning("job %s: %s", lease.job_id, error)
        except StoreError:
            raise  # what is left of the job is freed when this process has ended
        except Exception:
            log.exception("job %s failed", lease.job_id)
        else:
            log.info("job %s: %s", lease.job_id, state)


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in ("beacon-dse", "torch", "numpy")}
