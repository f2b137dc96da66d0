"""Where everything is wired: the only module that knows every room."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, cast, final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Engine

from api import scratch
from api.documents import Document
from api.driving import Drive, checked, network_of, until_available
from api.runs import run_document
from api.settings import Settings
from dse.design import Design
from dse.errors import Interrupted, SpecError, StoreUnavailableError, UnknownNameError
from dse.ports import Platform, Progress, Workload
from dse.problem import arithmetic
from dse.spec import JobSpec, KnobValue, explain
from dse.tasks import Request
from evaluators.evaluation import HONOURED
from evaluators.pools.calls import Limits
from evaluators.pools.described import Described, Offer, Plugins
from evaluators.registry import (
    WORKLOADS,
    Places,
    file_names,
    make_known_workload,
    make_platform,
    own_platform_names,
)
from storage.engine import make_engine, reading, upgrade
from storage.jobs import UNFINISHED, create_job, find_unfinished
from storage.leases import Lease, claim
from storage.owners import Owner
from storage.repositories import Jobs, Results
from storage.tables import JobState

log = logging.getLogger(__name__)

_RESUMABLE: Final = (JobState.PAUSED, JobState.FAILED)


@final
class RegistryCatalogue:
    """A `dse.catalogue.Catalogue` over the registry, the workloads that were added as files, and
    plug-ins, whose code runs in processes of its own."""

    def __init__(
        self, places: Places, limits: Limits | None = None, *, named: Sequence[Path] = ()
    ) -> None:
        self._places = places
        self._plugins = Plugins(places, limits or Limits(), named=named)

    @property
    def evaluator_knobs(self) -> tuple[str, ...]:
        return HONOURED

    def workload(self, name: str, params: Mapping[str, object]) -> Workload:
        if name not in WORKLOADS and name not in self.file_names:
            found = self._plugins.find(name, params)
            if found is not None:
                return found
        else:
            self._plugins.check_free(name)
        try:
            return self.known_workload(name, params)
        except UnknownNameError as error:
            raise self._unknown(error) from error

    def known_workload(self, name: str, params: Mapping[str, object]) -> Workload:
        """Return a workload that is no plug-in's, whatever name those have."""
        return make_known_workload(name, params, self._places)

    @property
    def file_names(self) -> list[str]:
        """The workloads that were added as files."""
        return file_names(self._places)

    def offers(self) -> list[Offer]:
        """Describe what plug-ins offer."""
        return self._plugins.offers()

    def _unknown(self, error: UnknownNameError) -> SpecError | UnknownNameError:
        offered = self._plugins.names()
        names = sorted({*error.allowed, *(n for n, reason in offered.items() if reason is None)})
        told = UnknownNameError(error.kind, error.given, names)
        reasons = [reason for reason in offered.values() if reason is not None]
        return SpecError("; ".join([str(told), *reasons])) if reasons else told

    def platform(self, name: str, params: Mapping[str, object]) -> Platform:
        return make_platform(name, params, self._places)

    @property
    def own_platforms(self) -> list[str]:
        """Platforms that were added as files or that installed packages bring, usable or not."""
        return own_platform_names(self._places)


def catalogue(settings: Settings) -> RegistryCatalogue:
    return RegistryCatalogue(settings.places, settings.limits, named=settings.named)


@contextmanager
def database(settings: Settings, *, patient: bool = False) -> Iterator[Engine]:
    """Open the database, its tables up to date.

    Args:
        patient: wait for a database that is locked, full or away, and say so.
    """
    engine = make_engine(settings.database_url)
    try:
        if patient:
            until_available(partial(upgrade, engine), say=_waiting)
        else:
            upgrade(engine)
        yield engine
    finally:
        engine.dispose()


def _waiting(error: StoreUnavailableError) -> None:
    log.warning("%s; waiting for the database", error)


def run_job(
    spec: JobSpec, settings: Settings, *, processes: int | None, progress: Progress
) -> str:
    """Run a spec to its end, going on with an interrupted job of the same spec if there is one.

    Args:
        processes: evaluation processes; None: one a core.

    Returns:
        The job's id.
    """
    shelf = catalogue(settings)
    checked(spec, shelf)
    with database(settings) as engine:
        scratch.sweep(engine, settings.places)
        lease = _take_job(engine, spec, settings)
        drive = Drive(
            engine, lease, settings, shelf, processes=processes, progress=progress, patient=False
        )
        state = drive.run()
        if state is not JobState.SUCCEEDED:
            raise Interrupted(f"job {lease.job_id} is {state}: the same command takes it up again")
        return lease.job_id


def measure(
    workload: Workload,
    platforms: Sequence[Platform],
    design: Design,
    split: str,
    progress: Progress,
) -> dict[str, float]:
    """Run the network at one design, here and now: nothing is looked up, nothing stored."""
    network = network_of(workload)
    if split not in network.splits:
        raise UnknownNameError("split", split, network.splits)
    request = Request(
        key="",
        choices=design.to_json(),
        arithmetic=arithmetic(platforms, workload, design.choices),
        split=split,
        timeout_s=float("inf"),
    )
    if isinstance(workload, Described):
        told = workload.call("evaluators.pools.errands:measure", request, progress=progress)
        return cast(dict[str, float], told)
    from evaluators.accuracy import AccuracyEvaluator

    network.prepare(progress)
    return AccuracyEvaluator(network).evaluate(request)


def read_design(path: Path) -> Design:
    """Read a design from a JSON file: `{knob: {layer: value}}`, or a document that holds one
    under "design", as `dse cost --json` prints."""
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise SpecError(f"cannot read a design from {path}: {error}") from error
    if isinstance(data, dict) and "design" in data:
        data = data["design"]
    try:
        choices = TypeAdapter(dict[str, dict[str, KnobValue]]).validate_python(data)
    except ValidationError as error:
        raise SpecError(f"{path} holds no design:\n{explain(error)}") from error
    return Design(choices)


def find_design(settings: Settings, prefix: str) -> Design:
    """Return the stored design whose hash begins with `prefix`."""
    with database(settings) as engine, reading(engine) as connection:
        return Results(connection).design(prefix)


def document(settings: Settings, job: str) -> Document:
    """Return the document of a job: its id, the beginning of it, or "latest"."""
    with database(settings) as engine:
        with reading(engine) as connection:
            job_id = Jobs(connection).find(job).id
        return run_document(engine, job_id, catalogue(settings))


def _take_job(engine: Engine, spec: JobSpec, settings: Settings) -> Lease:
    owner = Owner.current()
    for job_id in find_unfinished(engine, spec.digest(), states=(*UNFINISHED, *_RESUMABLE)):
        lease = claim(engine, job_id, owner, resume=_RESUMABLE, length_s=settings.lease_s)
        if lease is not None:
            return lease
    lease = claim(engine, create_job(engine, spec), owner, length_s=settings.lease_s)
    if lease is None:
        raise Interrupted("a worker took the job at once: watch it, or run without a service")
    return lease
