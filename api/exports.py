"""Designs taken out of their job, with the weights they were measured on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from api import bootstrap
from api.driving import network_of
from api.settings import Settings
from dse.catalogue import check
from dse.design import Design, Evaluation
from dse.errors import EvaluationError, SpecError, UnknownNameError, WeightsError
from dse.measuring import BASE
from dse.ports import Platform, Progress, Role, Workload
from dse.problem import arithmetic, platform_digest
from dse.spec import JobSpec, spec_from_data
from evaluators.evaluation import evaluation_key
from evaluators.pools.described import Described
from storage.beacons import find_beacon
from storage.engine import reading
from storage.repositories import Jobs, Results

if TYPE_CHECKING:  # they load torch, which most commands do without
    from evaluators.export import Export, Files

MANIFEST: Final = ".json"
TENSORS: Final = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A measured design of a job.

    Attributes:
        beacon: SHA-256 of the beacon weights that its error came from; None: the base weights.
        platforms: name -> digest of what they were when the job began.
    """

    spec: JobSpec
    evaluation: Evaluation
    beacon: str | None
    platforms: Mapping[str, str]


def find_measured(settings: Settings, job: str, design: str) -> Found:
    """Find a design by the beginning of its hash in a job: its id, the beginning of it, or
    "latest".

    Raises:
        UnknownNameError: no such job or design, or more than one.
        SpecError: the design's network was not run.
    """
    with bootstrap.database(settings) as engine, reading(engine) as connection:
        row, results = Jobs(connection).find(job), Results(connection)
        rows = [
            e for role in (Role.BASELINE, Role.SEARCH) for e in results.evaluations(row.id, role)
        ]
        evaluation = _the_one(rows, design)
        if evaluation.origin is None:
            raise SpecError(
                f"design {evaluation.design.hash} must have been measured to be exported, got: "
                f"{evaluation.reason or 'its network was not run'}"
            )
        beacon = None
        if evaluation.origin != BASE:
            number = int(evaluation.origin.rpartition(" ")[2])
            beacon = find_beacon(connection, row.id, number).digest
        return Found(
            spec=spec_from_data(row.spec),
            evaluation=evaluation,
            beacon=beacon,
            platforms=row.platforms or {},
        )


def export(settings: Settings, found: Found, progress: Progress) -> "Files":
    """Return the files of a measured design.

    Raises:
        EvaluationError: network or platforms at hand are not those of the job.
        WeightsError: the beacon weights are missing or altered.
    """
    from evaluators.export import Provenance
    from evaluators.manifest import Named
    from evaluators.pools import errands

    problem = check(found.spec, bootstrap.catalogue(settings))
    network = network_of(problem.workload)
    network.prepare(progress)
    design = found.evaluation.design
    rules = problem.arithmetic(design)
    key = evaluation_key(
        workload=network.name,
        digest=network.digest,
        choices=design.choices,
        arithmetic=rules,
        split="search",
    )
    if key != found.evaluation.key:
        raise EvaluationError(
            f"design {design.hash} was measured on another network or by another release or "
            "torch than are here: an export would not give its error; run the search again"
        )
    for platform in problem.platforms:
        if found.platforms.get(platform.name) not in (None, platform_digest(platform)):
            raise EvaluationError(
                f"platform {platform.name!r} is another one than the job ran on: an export would "
                "not tell the costs that were stored; put back its definition or run again"
            )
    source = Provenance(
        workload=Named(name=network.name, params=dict(network.params)),
        network=network.digest,
        platforms=[Named(name=p.name, params=dict(p.params)) for p in problem.platforms],
        design=design,
        origin=found.evaluation.origin or BASE,
        beacon=found.beacon,
        metrics=found.evaluation.metrics,
    )
    if isinstance(problem.workload, Described):
        target = "evaluators.pools.errands:write"
        told = problem.workload.call(target, rules, source, progress=progress)
        return cast("Files", told)
    return errands.write_from(network, settings.places, rules, source)


def read_export(manifest: Path) -> "Export":
    """Read an export by its JSON file, beside which the tensors lie under the same name.

    Raises:
        SpecError: a file cannot be read, or the JSON file is no export's.
        WeightsError: the tensors are altered.
    """
    from evaluators.export import Files, read_export

    files = Files(
        manifest=_read(manifest.with_suffix(MANIFEST)),
        tensors=_read(manifest.with_suffix(TENSORS)),
    )
    try:
        return read_export(files)
    except (SpecError, WeightsError) as error:
        raise type(error)(f"{manifest}: {error}") from error


def measure(
    export: "Export",
    workload: Workload,
    platforms: Sequence[Platform],
    design: Design,
    split: str,
    progress: Progress,
) -> tuple[dict[str, float], bool]:
    """Run an exported design, here and now.

    Returns:
        Its metrics, and whether the workload's data and base network are those it came from.
    """
    from evaluators.export import measure_export
    from evaluators.pools.errands import pack
    from evaluators.quantizers.requests import check_arithmetic

    network = network_of(workload)
    if split not in network.splits:
        raise UnknownNameError("split", split, network.splits)
    check_arithmetic(arithmetic(platforms, workload, design.choices), network.shape.names)
    if isinstance(workload, Described):
        target = "evaluators.pools.errands:measure_packed"
        told = workload.call(target, pack(export), split, progress=progress)
        metrics, digest = cast(tuple[dict[str, float], str], told)
        return metrics, digest == export.manifest.network
    network.prepare(progress)
    return measure_export(export, network, split), network.digest == export.manifest.network


def _the_one(rows: Sequence[Evaluation], told: str) -> Evaluation:
    # a design of the search and a baseline alike: what the search found of it stands
    found: Mapping[str, Evaluation] = {
        e.design.hash: e for e in rows if e.design.hash.startswith(told)
    }
    if len(found) != 1:
        raise UnknownNameError("design", told, list(found)[:5])
    return next(iter(found.values()))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
