"""What exists (a port), and whether a spec can be run with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from dse.metrics import METRICS
from dse.optimizers.making import check_available
from dse.ports import Platform, Workload
from dse.problem import Problem
from dse.space import Gene, SearchSpace, Target
from dse.spec import JobSpec, KnobLine


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


def build_space(
    lines: Sequence[KnobLine],
    workload: Workload,
    platforms: Sequence[Platform],
    evaluator_knobs: Sequence[str],
) -> SearchSpace:
    """Return the space that the knob lines describe on these layers and platforms."""
    layers = workload.shape.names
    honoured = {knob for platform in platforms for knob in platform.knobs} | set(evaluator_knobs)
    rules = _rules(lines, layers, honoured, platforms)
    groups = _Groups(rules)
    for line_target, rule in rules.items():
        groups.tie(line_target, rule, layers)
    for platform in platforms:
        for tied in platform.tied:
            for layer in layers:
                groups.join([(knob, layer) for knob in tied])
    knobs = tuple(knob for knob in KNOBS if knob in honoured)
    genes, fixed = [], {}
    for targets in groups.sets([(knob, layer) for knob in knobs for layer in layers]):
        choices = _common_choices(targets, rules)
        if len(choices) > 1:
            genes.append(Gene(name=_gene_name(targets), choices=choices, targets=targets))
        else:
            fixed.update(dict.fromkeys(targets, choices[0]))
    if not genes:
        raise SpecError("the knobs leave a single design: nothing to search")
    return SearchSpace(layers=layers, knobs=knobs, genes=tuple(genes), fixed=fixed)


@dataclass(frozen=True, slots=True)
class _Rule:
    choices: tuple[int, ...]
    tie: str
    line: int


def _rules(
    lines: Sequence[KnobLine],
    layers: Sequence[str],
    honoured: set[str],
    platforms: Sequence[Platform],
) -> dict[Target, _Rule]:
    rules: dict[Target, _Rule] = {}
    for number, line in enumerate(lines):
        if line.knob not in KNOBS:
            raise UnknownNameError("knob", line.knob, KNOBS)
        if line.knob not in honoured:
            raise SpecError(
                f"knob {line.knob!r} has no effect: none of the platforms "
                f"{[p.name for p in platforms]} and no evaluator honours it; "
                f"allowed: {sorted(honoured)}"
            )
        _check_choices(line, platforms)
        matched = [layer for layer in layers if fnmatchcase(layer, line.layers)]
        if not matched:
            raise SpecError(
                f"layers {line.layers!r} of knob {line.knob!r} matches no layer; "
                f"allowed: {', '.join(layers)}"
            )
        for layer in matched:
            rules[line.knob, layer] = _Rule(tuple(sorted(line.choices)), line.tie, number)
    return rules


def _check_choices(line: KnobLine, platforms: Sequence[Platform]) -> None:
    takers = {"the catalogue": KNOBS[line.knob].choices}
    takers |= {p.name: p.knobs[line.knob] for p in platforms if line.knob in p.knobs}
    for taker, allowed in takers.items():
        wrong = [value for value in line.choices if value not in allowed]
        if wrong:
            raise SpecError(
                f"choices of {line.knob} for layers {line.layers!r}: {taker} takes "
                f"{list(allowed)}, got {wrong}"
            )


class _Groups:
    """Targets that share a gene (a small union-find)."""

    def __init__(self, rules: dict[Target, _Rule]) -> None:
        self._leader: dict[Target, Target] = {}
        self._named: dict[tuple[str, str], Target] = {}
        self._rules = rules

    def tie(self, target: Target, rule: _Rule, layers: Sequence[str]) -> None:
        if rule.tie == "none":
            return
        if rule.tie in KNOBS:
            self.join([(rule.tie, target[1]), target])
            return
        name = ("line", str(rule.line)) if rule.tie == "all" else ("name", rule.tie)
        self.join([self._named.setdefault(name, target), target])

    def join(self, targets: Sequence[Target]) -> None:
        for target in targets[1:]:
            self._leader[self._find(target)] = self._find(targets[0])

    def sets(self, targets: Sequence[Target]) -> list[tuple[Target, ...]]:
        found: dict[Target, list[Target]] = {}
        for target in targets:
            found.setdefault(self._find(target), []).append(target)
        return [tuple(members) for members in found.values()]

    def _find(self, target: Target) -> Target:
        while (leader := self._leader.get(target, target)) != target:
            target = leader
        return target


def _common_choices(targets: tuple[Target, ...], rules: dict[Target, _Rule]) -> tuple[int, ...]:
    """Return what all tied targets allow; those that no line names follow the others."""
    named = [rules[target].choices for target in targets if target in rules]
    if not named:
        return (KNOBS[targets[0][0]].neutral,)
    common = tuple(value for value in named[0] if all(value in other for other in named))
    if not common:
        raise SpecError(
            f"{_gene_name(targets)} share one gene but have no choice in common: "
            + ", ".join(f"{k}@{layer} {rules[k, layer].choices}" for k, layer in targets)
        )
    return common


def _gene_name(targets: tuple[Target, ...]) -> str:
    return "=".join(f"{knob}@{layer}" for knob, layer in targets)


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
    for knob in rules.knob_weights:
        if knob not in evaluator_knobs:
            raise UnknownNameError("knob in beacons.knob_weights", knob, evaluator_knobs)


def _check_totals(problem: Problem) -> None:
    parts = sorted(f"{p.name}.{metric}" for p in problem.platforms for metric in p.metrics)
    for total, named in problem.spec.totals.items():
        if total not in METRICS:
            raise UnknownNameError("metric", total, sorted(METRICS))
        for part in named:
            if part not in parts:
                raise UnknownNameError(f"part of total {total!r}", part, parts)
