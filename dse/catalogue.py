"""What exists (a port), and whether a spec can be run with it."""

from collections.abc import Sequence
from typing import Protocol

from dse.errors import SpecError, UnknownNameError
from dse.knob_lines import build_space
from dse.knobs import KNOBS
from dse.metrics import METRICS
from dse.optimizers.making import check_available
from dse.ports import Bounded, Platform, Workload
from dse.problem import Problem
from dse.spec import JobSpec


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
    workload = catalogue.workload(spec.workload.name, spec.workload.params)
    platforms = tuple(catalogue.platform(p.name, p.params) for p in spec.platforms)
    if not workload.metrics:
        raise SpecError(
            f"workload {workload.name!r} is a shape without data: nothing can be measured; "
            "a search needs a workload with data, `dse cost` takes this one"
        )
    space = build_space(spec.knobs, workload, platforms, catalogue.evaluator_knobs)
    for platform in platforms:
        if isinstance(platform, Bounded):
            platform.refuse(workload.shape, space.allowed)
    problem = Problem(spec=spec, workload=workload, platforms=platforms, space=space)
    _check_metrics(problem)
    if spec.beacons.enabled:
        _check_beacons(problem, catalogue.evaluator_knobs)
    return problem


def check_runnable(problem: Problem) -> None:
    """Refuse what this installation cannot run, though its names exist.

    Raises:
        SpecError: naming what is missing.
    """
    check_available(problem.spec.search.algorithm)
    if problem.workload.needs is not None:
        raise SpecError(
            f"workload {problem.workload.name!r} cannot be run here. It needs: "
            f"{problem.workload.needs}"
        )


def _check_metrics(problem: Problem) -> None:
    spec, available = problem.spec, problem.available_metrics
    _check_totals(problem)
    constrained = [constraint.metric for constraint in spec.constraints]
    for metric in [*spec.objectives, *constrained]:
        if metric not in METRICS:
            raise UnknownNameError("metric", metric, sorted(available))
        if metric not in available:
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
    for constraint in spec.constraints:
        if constraint.max_increase is not None and constraint.metric in problem.cost_metrics:
            raise SpecError(
                f"max_increase counts from the unquantized network, so it takes the workload's "
                f"metrics {list(problem.workload.metrics)}, got {constraint.metric!r}"
            )


def _check_beacons(problem: Problem, evaluator_knobs: Sequence[str]) -> None:
    rules, workload = problem.spec.beacons, problem.workload
    if not workload.trainable:
        raise SpecError(
            f"beacons need a workload that can be retrained, and {workload.name!r} has no "
            "training data; allowed: beacons: {enabled: false}"
        )
    for metric in rules.gates:
        if metric not in problem.cost_metrics:
            raise SpecError(
                f"beacons.gates takes costs, which are known before a network runs: "
                f"{', '.join(problem.cost_metrics)}; got {metric!r}"
            )
    if rules.prefer is not None and rules.prefer not in problem.cost_metrics:
        raise SpecError(
            f"beacons.prefer must be one of the costs {', '.join(problem.cost_metrics)}, "
            f"got {rules.prefer!r}"
        )
    measurable = [knob for knob in evaluator_knobs if KNOBS[knob].numeric]
    for knob in rules.knob_weights:
        if knob not in evaluator_knobs:
            raise UnknownNameError("knob in beacons.knob_weights", knob, measurable)
        if knob not in measurable:
            raise SpecError(
                f"beacons.knob_weights takes knobs whose values are numbers: "
                f"{', '.join(measurable)}; got {knob!r}, whose values are words: "
                f"{', '.join(map(str, KNOBS[knob].choices))}"
            )


def _check_totals(problem: Problem) -> None:
    parts = sorted(f"{p.name}.{metric}" for p in problem.platforms for metric in p.metrics)
    for total, named in problem.spec.totals.items():
        if total not in METRICS:
            raise UnknownNameError("metric", total, sorted(METRICS))
        for part in named:
            if part not in parts:
                raise UnknownNameError(f"part of total {total!r}", part, parts)
