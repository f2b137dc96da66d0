"""Drives one leased job to its end, for `dse run` and for workers alike."""

import logging
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar, cast, final

from sqlalchemy import Engine

from api.scratch import GOES_ON, forget
from api.settings import Settings
from dse.catalogue import Catalogue, check, check_runnable
from dse.errors import (
    FencedOutError,
    Interrupted,
    SpecError,
    StoreError,
    StoreUnavailableError,
)
from dse.ports import EvaluationKey, Pool, Progress, RetrainingKey, Workload
from dse.problem import Problem, platform_digest
from dse.search import Search
from dse.spec import JobSpec, spec_from_data
from evaluators.data.vault import Vault
from evaluators.evaluation import evaluation_key, retraining_key
from evaluators.pools.described import Described
from storage.engine import reading
from storage.events import EventKind
from storage.heart import Heart
from storage.leases import Lease, release
from storage.platforms import keep_platforms
from storage.repositories import Jobs
from storage.run_store import SqlRunStore
from storage.tables import JobState

if TYPE_CHECKING:  # it loads torch, which most commands do without
    from evaluators.network import Network

log = logging.getLogger(__name__)

T = TypeVar("T")

_RETRY_S = 1.0
_TELL_S = 2.0


@final
class Drive:
    """One job under one lease.

    Args:
        processes: evaluation processes; None: one a core.
        progress: told of preparation, baselines and search.
        patient: wait for a database that is locked, full or away, instead of giving up.
    """

    def __init__(
        self,
        engine: Engine,
        lease: Lease,
        settings: Settings,
        catalogue: Catalogue,
        *,
        processes: int | None,
        progress: Progress,
        patient: bool,
    ) -> None:
        self._patient = patient
        self._engine = engine
        self._lease = lease
        self._settings = settings
        self._catalogue = catalogue
        self._processes = processes
        self._progress = progress

    def run(self) -> JobState:
        """Search, and release the job in the state that this leaves it in.

        Returns:
            SUCCEEDED, or CANCELLED or PAUSED on request; READY after a patient wait for the
            database, to be taken up again where it was.

        Raises:
            Interrupted: the process was asked to stop; the job is READY.
            FencedOutError: the job is another's.
            Exception: whatever ended the search; the job is FAILED.
        """
        with Heart(self._engine, self._lease) as heart:
            try:
                self._search(checked(self._spec(), self._catalogue), heart)
            except FencedOutError:
                raise
            except KeyboardInterrupt:
                self._release(JobState.READY)
                raise Interrupted(
                    f"job {self._lease.job_id} was interrupted; everything finished is stored: "
                    "the same command goes on from there"
                ) from None
            except Interrupted:
                # a job that was asked to stop goes where it was asked to, not back to READY
                return self._release(JobState.READY)
            except StoreUnavailableError as error:
                if not self._patient:
                    raise  # the job is found again by its process, which will be gone
                log.warning("job %s: %s; waiting for the database", self._lease.job_id, error)
                return self._release(JobState.READY)
            except Exception as error:
                with suppress(StoreError):
                    self._release(JobState.FAILED, error=str(error))
                raise
            return self._release(JobState.SUCCEEDED)

    def _spec(self) -> JobSpec:
        with reading(self._engine) as connection:
            return spec_from_data(Jobs(connection).get(self._lease.job_id).spec)

    def _search(self, problem: Problem, heart: Heart) -> None:
        workload, most_mib = problem.workload, problem.spec.evaluation.memory_mib
        if isinstance(workload, Described):
            workload = workload.within(most_mib)
        network = network_of(workload)
        digests = {platform.name: platform_digest(platform) for platform in problem.platforms}
        keep_platforms(self._engine, self._lease, digests)
        shared = problem.spec.evaluation.cache
        with closing(SqlRunStore(self._engine, self._lease, shared_cache=shared)) as store:
            watch = _Watch(heart, store, self._lease.job_id, self._progress)
            network.prepare(watch)
            with closing(self._pool(problem, network, watch)) as pool:
                Search(
                    problem,
                    pool=pool,
                    store=store,
                    vault=Vault(self._settings.places.beacons),
                    key=_key_of(network),
                    retraining_key=_retraining_key_of(network),
                    progress=watch,
                ).run()

    def _pool(self, problem: Problem, network: "Network", watch: Progress) -> Pool:
        # torch is loaded by those who evaluate, not by every command that knows of jobs
        from evaluators.pools.inline import InlinePool
        from evaluators.pools.processes import ACCURACY, ProcessPool
        from evaluators.tasks import make_evaluator

        # where nothing of a plug-in is to run, none can
        places, load_s = replace(self._settings.places, plugins=()), None
        most_mib = problem.spec.evaluation.memory_mib
        workload: Workload = network
        if isinstance(workload, Described):
            places, limits = workload.places, workload.limits
            most_mib, load_s = limits.memory_mib, limits.silence_s
        scratch = places.scratch(self._lease.job_id)
        arguments = (network.name, dict(network.params), places, scratch, network.digest)
        if problem.spec.evaluation.pool == "inline":
            return InlinePool(make_evaluator(*arguments), watch=watch)
        return ProcessPool(
            ACCURACY,
            arguments=arguments,
            slots=self._processes,
            memory_mib=most_mib,
            load_s=load_s,
        )

    def _release(self, state: JobState, *, error: str | None = None) -> JobState:
        action = partial(release, self._engine, self._lease, state, error=error)
        after = until_available(action) if self._patient else action()
        if after not in GOES_ON:
            forget(self._settings.places, self._lease.job_id)
        return after


@final
class _Watch:
    """Passes progress on, to the job's events too, and leaves when the job shall stop."""

    def __init__(self, heart: Heart, store: SqlRunStore, job_id: str, progress: Progress) -> None:
        self._heart = heart
        self._store = store
        self._job_id = job_id
        self._progress = progress
        self._told = float("-inf")

    def __call__(self, label: str, done: int, total: int) -> None:
        if self._heart.lost():
            raise FencedOutError(f"job {self._job_id} is no longer held")
        if self._heart.requested is not None:
            raise Interrupted(f"job {self._job_id} shall {self._heart.requested}")
        self._progress(label, done, total)
        # a search has events of its own, one a generation
        if label != "searching" and time.monotonic() - self._told >= _TELL_S:
            self._told = time.monotonic()
            told = {"label": label, "done": done, "total": total}
            self._store.note(EventKind.JOB_PROGRESS, told)


def until_available(
    action: Callable[[], T], *, say: Callable[[StoreUnavailableError], None] | None = None
) -> T:
    """Do something to the database, again and again while it is away.

    Args:
        say: told of each reason once.
    """
    told = ""
    while True:
        try:
            return action()
        except StoreUnavailableError as error:
            if say is not None and str(error) != told:
                told = str(error)
                say(error)
            time.sleep(_RETRY_S)


def _key_of(network: "Network") -> EvaluationKey:
    return lambda choices, arithmetic, split, weights=None: evaluation_key(
        workload=network.name,
        digest=network.digest,
        choices=choices,
        arithmetic=arithmetic,
        split=split,
        weights=weights,
    )


def _retraining_key_of(network: "Network") -> RetrainingKey:
    return lambda choices, arithmetic, *, steps, seed, learn_exponents: retraining_key(
        workload=network.name,
        digest=network.digest,
        choices=choices,
        arithmetic=arithmetic,
        steps=steps,
        seed=seed,
        learn_exponents=learn_exponents,
    )


def checked(spec: JobSpec, catalogue: Catalogue) -> Problem:
    """Resolve every name of a spec, and refuse what this installation cannot run.

    Raises:
        UnknownNameError, SpecError: naming what was given and what is allowed.
    """
    problem = check(spec, catalogue)
    check_runnable(problem)
    if spec.evaluation.pool == "inline" and isinstance(problem.workload, Described):
        raise SpecError(
            f"evaluation.pool must be processes for workload {spec.workload.name!r}: code of a "
            "plug-in runs in processes that can be ended; got 'inline'"
        )
    return problem


def network_of(workload: Workload) -> "Network":
    """Return the workload as one that can be run.

    Raises:
        SpecError: it is a shape without data.
    """
    if not workload.metrics:
        raise SpecError(
            f"workload {workload.name!r} is a shape without data: nothing can be measured; "
            "allowed: `dse cost`"
        )
    return cast("Network", workload)
