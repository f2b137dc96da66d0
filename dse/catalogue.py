"""What exists (a port), and whether a spec can be run with it."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from dse.beacon_checks import check_beacons
from dse.errors import SpecError, UnknownNameError, located
from dse.knob_lines import build_space
from dse.metrics import METRICS
from dse.optimizers.making import check_available
from dse.ports import Bounded, Platform, Workload
from dse.problem import Problem
from dse.spec import JobSpec, Reference

_Made = TypeVar("_Made")


class Catalogue(Protocol):
    """Makes workloads and platforms by name; both raise UnknownNameError or SpecError.

    Attributes:
        evaluator_knobs: knobs that change a measured error.
    """

    @property
    def evaluator_knobs(self) -> tuple[str, ...]: ...

    def workload(self, name: str, params: dict[str, object]) -> Workload: ...

    def platform(self, name: str, params: dict[str, object]) -> Platform: ...


def check(spec: JobSpec, catalogue: Catalogue) -> Problem:
    """Resolve every name of a spec.

    Raises:
        UnknownNameError, SpecError: naming what was given and what is allowed.
    """
    workload = _workload(spec.workload, catalogue)
    platforms = tuple(
        _made(catalogue.platform, one, "platforms", i) for i, one in enumerate(spec.platforms)
    )
    with located("knobs"):
        space = build_space(spec.knobs, workload, platforms, catalogue.evaluator_knobs)
    for platform in platforms:
        if isinstance(platform, Bounded):
            with located("knobs"):
                platform.refuse(workload.shape, space.allowed)
    problem = Problem(spec=spec, workload=workload, platforms=platforms, space=space)
    _check_metrics(problem)
    if spec.reference_point is None and not spec.search.baselines:
        raise SpecError(
            "reference_point must be given if search.baselines is empty, since it is the worst of "
            f"them otherwise; allowed: one number for each of {spec.objectives}",
            at=("reference_point",),
        )
    if spec.beacons.enabled:
        check_beacons(problem, catalogue.evaluator_knobs)
    return problem


def check_runnable(problem: Problem) -> None:
    """Refuse what this installation cannot run, though its names exist.

    Raises:
        SpecError: naming what is missing.
    """
    with located("search", "algorithm"):
        check_available(problem.spec.search.algorithm)
    if problem.workload.needs is not None:
        raise SpecError(
            f"workload {problem.workload.name!r} cannot be run here. It needs: "
            f"{problem.workload.needs}",
            at=("workload", "name"),
        )


def _workload(given: Reference, catalogue: Catalogue) -> Workload:
    workload = _made(catalogue.workload, given, "workload")
    if not workload.metrics:
        raise SpecError(
            f"workload {workload.name!r} is a shape without data: nothing can be measured; "
            "a search needs a workload with data, `dse cost` takes this one",
            at=("workload", "name"),
        )
    return workload


def _made(
    make: Callable[[str, dict[str, object]], _Made], given: Reference, *place: str | int
) -> _Made:
    try:
        with located(*place, "params"):
            return make(given.name, given.params)
    except UnknownNameError as error:
        if error.given == given.name:
            error.at = (*place, "name")
        raise


def _check_metrics(problem: Problem) -> None:
    spec = problem.spec
    _check_totals(problem)
    for i, objective in enumerate(spec.objectives):
        with located("objectives", i):
            _check_metric(problem, objective)
    for i, constraint in enumerate(spec.constraints):
        with located("constraints", i, "metric"):
            _check_metric(problem, constraint.metric)
        if constraint.max_increase is not None and constraint.metric in problem.cost_metrics:
            raise SpecError(
                f"max_increase counts from the unquantized network, so it takes the workload's "
                f"metrics {list(problem.workload.metrics)}, got {constraint.metric!r}",
                at=("constraints", i, "max_increase"),
            )


def _check_metric(problem: Problem, metric: str) -> None:
    available = problem.available_metrics
    if metric not in METRICS:
        raise UnknownNameError("metric", metric, sorted(available))
    if metric in available:
        return
    if owners := problem.owners.get(metric):
        raise SpecError(
            f"metric {metric!r} comes from several platforms: add totals: "
            f"{{{metric}: [{', '.join(owners)}]}} or part of it"
        )
    raise SpecError(
        f"nothing yields metric {metric!r}: neither workload "
        f"{problem.workload.name!r} nor platforms {[p.name for p in problem.platforms]}; "
        f"allowed: {', '.join(sorted(available))}"
    )


def _check_totals(problem: Problem) -> None:
    parts = sorted(f"{p.name}.{metric}" for p in problem.platforms for metric in p.metrics)
    for total, named in problem.spec.totals.items():
        with located("totals", total):
            if total not in METRICS:
                raise UnknownNameError("metric", total, sorted(METRICS))
        for i, part in enumerate(named):
            with located("totals", total, i):
                if part not in parts:
                    raise UnknownNameError(f"part of total {total!r}", part, parts)
