"""Whether a job's beacons can be made, and can change anything."""

from collections.abc import Sequence

from dse.errors import SpecError, UnknownNameError, located
from dse.knob_lines import honoured_knobs
from dse.knobs import KNOBS
from dse.problem import Problem
from dse.spec import Gate


def check_beacons(problem: Problem, evaluator_knobs: Sequence[str]) -> None:
    """Refuse beacons that cannot be made or whose settings have no effect.

    Args:
        evaluator_knobs: knobs that change a measured error.

    Raises:
        UnknownNameError, SpecError: naming what was given and what is allowed.
    """
    with located("beacons", "enabled"):
        _check_use(problem)
    for metric, gate in problem.spec.beacons.gates.items():
        with located("beacons", "gates", metric):
            _check_gate(problem, metric, gate)
    prefer = problem.spec.beacons.prefer
    if prefer is not None and prefer not in problem.cost_metrics:
        raise SpecError(
            f"beacons.prefer must be one of the costs {', '.join(problem.cost_metrics)}, "
            f"got {prefer!r}",
            at=("beacons", "prefer"),
        )
    honoured = honoured_knobs(problem.platforms, evaluator_knobs)
    heard = [knob for knob in evaluator_knobs if knob in honoured]
    for knob in problem.spec.beacons.knob_weights:
        with located("beacons", "knob_weights", knob):
            _check_weighted(problem, knob, heard, evaluator_knobs)
    if problem.spec.beacons.learn_exponents and "psum_bits" not in honoured:
        raise SpecError(
            f"beacons.learn_exponents has no effect: none of the platforms {_names(problem)} "
            "stores partial sums in few bits (knob 'psum_bits'); allowed: false",
            at=("beacons", "learn_exponents"),
        )


def _check_use(problem: Problem) -> None:
    workload, spec = problem.workload, problem.spec
    if not workload.trainable:
        raise SpecError(
            f"beacons need a workload that can be retrained, and {workload.name!r} has no "
            "training data; allowed: beacons: {enabled: false}"
        )
    looked_at = {*spec.objectives, *(constraint.metric for constraint in spec.constraints)}
    if looked_at.isdisjoint(workload.metrics):
        raise SpecError(
            "beacons have no effect: no objective and no constraint is a metric of workload "
            f"{workload.name!r}: {', '.join(workload.metrics)}; got {sorted(looked_at)}"
        )


def _check_gate(problem: Problem, metric: str, gate: Gate) -> None:
    if metric not in problem.cost_metrics:
        raise SpecError(
            f"beacons.gates takes costs, which are known before a network runs: "
            f"{', '.join(problem.cost_metrics)}; got {metric!r}"
        )
    if gate.min is not None and gate.max is not None and gate.min >= gate.max:
        raise SpecError(
            f"beacons.gates: no {metric} is more than {gate.min} and less than {gate.max}; "
            "allowed: min < max"
        )


def _check_weighted(
    problem: Problem, knob: str, heard: Sequence[str], evaluator_knobs: Sequence[str]
) -> None:
    measurable = [name for name in heard if KNOBS[name].numeric]
    if knob not in evaluator_knobs:
        raise UnknownNameError("knob in beacons.knob_weights", knob, measurable)
    if not KNOBS[knob].numeric:
        raise SpecError(
            f"beacons.knob_weights takes knobs whose values are numbers: "
            f"{', '.join(measurable)}; got {knob!r}, whose values are words: "
            f"{', '.join(map(str, KNOBS[knob].choices))}"
        )
    if knob not in heard:
        raise SpecError(
            f"{knob!r} in beacons.knob_weights has no effect: none of the platforms "
            f"{_names(problem)} honours it; allowed: {', '.join(measurable)}"
        )


def _names(problem: Problem) -> list[str]:
    return [platform.name for platform in problem.platforms]
