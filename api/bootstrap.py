"""Where everything is wired: the only module that knows every room."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast, final

from pydantic import StrictInt, TypeAdapter, ValidationError
from sqlalchemy import Engine

from api.documents import Document
from api.runs import run_document
from api.settings import Settings
from dse.catalogue import check
from dse.design import Design
from dse.errors import FencedOutError, Interrupted, SpecError, StoreError
from dse.ports import Platform, Pool, Progress, Request, Workload
from dse.problem import Problem, arithmetic
from dse.search import Search
from dse.spec import JobSpec, explain
from evaluators.evaluation import HONOURED, evaluation_key
from evaluators.network import Network
from evaluators.registry import Places, make_platform, make_workload
from storage.engine import make_engine, reading, upgrade
from storage.jobs import UNFINISHED, create_job, find_unfinished
from storage.leases import Lease, Owner, claim, release
from storage.repositories import Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import JobState


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
    problem = check(spec, catalogue(settings))
    with database(settings) as engine:
        lease = _take_job(engine, spec)
        try:
            _search(engine, lease, problem, settings, processes, progress)
        except (KeyboardInterrupt, Interrupted) as stop:
            release(engine, lease, JobState.READY)
            raise Interrupted(
                f"job {lease.job_id} was interrupted; everything finished is stored: "
                "the same command goes on from there"
            ) from stop
        except FencedOutError:
            raise
        except Exception as error:
            # a database that refuses leaves the job to the next run, which finds its owner gone
            with suppress(StoreError):
                release(engine, lease, JobState.FAILED, error=str(error))
            raise
        release(engine, lease, JobState.SUCCEEDED)
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

    network = _network(workload)
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
    except (OSError, ValueError) as error:
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


def _take_job(engine: Engine, spec: JobSpec) -> Lease:
    owner = Owner.current()
    resumable = (*UNFINISHED, JobState.FAILED)
    for job_id in find_unfinished(engine, spec.digest(), states=resumable):
        lease = claim(engine, job_id, owner, resume=(JobState.PAUSED, JobState.FAILED))
        if lease is not None:
            return lease
    lease = claim(engine, create_job(engine, spec), owner)
    assert lease is not None, "nobody else knows of a job made just now"
    return lease


def _search(
    engine: Engine,
    lease: Lease,
    problem: Problem,
    settings: Settings,
    processes: int | None,
    progress: Progress,
) -> None:
    network = _network(problem.workload)
    network.prepare(progress)
    evaluation = problem.spec.evaluation
    store = SqlRunStore(engine, lease, shared_cache=evaluation.cache)
    pool = _pool(problem, settings, processes)
    try:
        Search(
            problem,
            pool=pool,
            store=store,
            key=lambda choices, rules, split: evaluation_key(
                workload=network.name,
                digest=network.digest,
                choices=choices,
                arithmetic=rules,
                split=split,
            ),
            progress=progress,
        ).run()
    finally:
        pool.close()
        store.close()


def _pool(problem: Problem, settings: Settings, processes: int | None) -> Pool:
    from evaluators.accuracy import make_evaluator
    from evaluators.pools.inline import InlinePool
    from evaluators.pools.processes import ACCURACY, ProcessPool

    workload = problem.workload
    arguments = (workload.name, dict(workload.params), settings.places)
    if problem.spec.evaluation.pool == "inline":
        return InlinePool(make_evaluator(*arguments))
    return ProcessPool(ACCURACY, arguments=arguments, slots=processes)


def _network(workload: Workload) -> Network:
    if not workload.metrics:
        raise SpecError(
            f"workload {workload.name!r} is a shape without data: nothing can be measured; "
            "allowed: `dse cost`"
        )
    return cast(Network, workload)
