"""Where everything is wired: the only module that knows every room."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, final

from pydantic import StrictInt, TypeAdapter, ValidationError
from sqlalchemy import Engine

from api import scratch
from api.documents import Document
from api.driving import Drive, network_of
from api.runs import run_document
from api.settings import Settings
from dse.catalogue import check, check_runnable
from dse.design import Design
from dse.errors import Interrupted, SpecError, UnknownNameError
from dse.ports import Platform, Progress, Workload
from dse.problem import arithmetic
from dse.spec import JobSpec, explain
from dse.tasks import Request
from evaluators.evaluation import HONOURED
from evaluators.registry import Places, make_platform, make_workload
from storage.engine import make_engine, reading, upgrade
from storage.jobs import UNFINISHED, create_job, find_unfinished
from storage.leases import Lease, claim
from storage.owners import Owner
from storage.repositories import Jobs, Results
from storage.tables import JobState

_RESUMABLE: Final = (JobState.PAUSED, JobState.FAILED)


@final
class RegistryCatalogue:
    """A `dse.catalogue.Catalogue` over the registry."""

    def __init__(self, places: Places) -> None:
        self._places = places

    @property
    def evaluator_knobs(self) -> tuple[str, ...]:
        return HONOURED

    def workload(self, name: str, params: Mapping[str, object]) -> Workload:
        return make_workload(name, params, self._places)

    def platform(self, name: str, params: Mapping[str, object]) -> Platform:
        return make_platform(name, params)


def catalogue(settings: Settings) -> RegistryCatalogue:
    return RegistryCatalogue(settings.places)


@contextmanager
def database(settings: Settings) -> Iterator[Engine]:
    """Open the database, its tables up to date."""
    engine = make_engine(settings.database_url)
    try:
        upgrade(engine)
        yield engine
    finally:
        engine.dispose()


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
    check_runnable(check(spec, shelf))
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
    from evaluators.accuracy import AccuracyEvaluator

    network = network_of(workload)
    if split not in network.splits:
        raise UnknownNameError("split", split, network.splits)
    network.prepare(progress)
    request = Request(
        key="",
        choices=design.choices,
        arithmetic=arithmetic(platforms, workload, design.choices),
        split=split,
        timeout_s=float("inf"),
    )
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
        choices = TypeAdapter(dict[str, dict[str, StrictInt]]).validate_python(data)
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
