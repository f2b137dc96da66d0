"""From a spec's knob lines to the space that they describe."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product

from dse.canonical import Canon, canon_of
from dse.design import Value
from dse.errors import SpecError, UnknownNameError, located
from dse.knobs import KNOBS
from dse.ports import Platform, Workload
from dse.space import Gene, SearchSpace, Target
from dse.spec import KnobLine

ENDS = {"@first": 0, "@last": -1}
"""Names of the layers at the ends, in order of execution -> their index."""


def build_space(
    lines: Sequence[KnobLine],
    workload: Workload,
    platforms: Sequence[Platform],
    evaluator_knobs: Sequence[str],
) -> SearchSpace:
    """Return the space that the knob lines describe on these layers and platforms.

    Its designs state what a platform honours or what is not neutral throughout.

    Raises:
        UnknownNameError, SpecError: naming what was given and what is allowed.
    """
    layers, canon = workload.shape.names, canon_of(workload.shape, platforms)
    offered = {knob for platform in platforms for knob in platform.knobs}
    honoured = honoured_knobs(platforms, evaluator_knobs)
    values = _Values(
        rules=_rules(lines, layers, honoured, platforms),
        defaults=default_values(workload),
        workload=workload.name,
        platforms=platforms,
    )
    groups = _groups(values.rules, layers, platforms)
    for knob in honoured:
        if KNOBS[knob].scope == "design":
            groups.join([(knob, layer) for layer in layers])
    targets = [(knob, layer) for knob in KNOBS if knob in honoured for layer in layers]
    allowed = {members: values.common(members) for members in groups.sets(targets)}
    by_target = {target: choices for members, choices in allowed.items() for target in members}
    genes: list[Gene] = []
    fixed: dict[Target, Value] = {}
    for members, choices in allowed.items():
        gene = Gene(name=_gene_name(members), choices=choices, targets=members)
        if len(choices) > 1 and any(_has_effect(target, by_target, canon) for target in members):
            genes.append(gene)
        else:
            fixed |= dict.fromkeys(members, choices[gene.neutral])
    if not genes:
        raise SpecError("the knobs leave a single design: nothing to search")
    searched = {knob for gene in genes for knob, _ in gene.targets}
    chosen = {knob for (knob, _), value in fixed.items() if value != KNOBS[knob].neutral}
    knobs = tuple(knob for knob in KNOBS if knob in offered | searched | chosen)
    return SearchSpace(
        layers=layers,
        knobs=knobs,
        genes=tuple(genes),
        fixed={target: value for target, value in fixed.items() if target[0] in knobs},
        canon=canon,
    )


def honoured_knobs(platforms: Sequence[Platform], evaluator_knobs: Sequence[str]) -> set[str]:
    """Return the knobs that have an effect: on what a platform costs, or on what is measured, if
    they do not need a platform for that."""
    offered = {knob for platform in platforms for knob in platform.knobs}
    return offered | {knob for knob in evaluator_knobs if not KNOBS[knob].bound}


def matching(layers: Sequence[str], pattern: str) -> list[str]:
    """Return the layers that a pattern means: a glob, or "@first" or "@last" in order of
    execution."""
    if pattern in ENDS:
        return [layers[ENDS[pattern]]]
    return [layer for layer in layers if fnmatchcase(layer, pattern)]


def default_values(workload: Workload) -> dict[str, Value]:
    """Return what every knob stands at where nothing is said: the workload's default, or neutral.

    Raises:
        UnknownNameError, SpecError: the workload's defaults are none of the catalogue's.
    """
    whose = f"the defaults of workload {workload.name!r}"
    for knob, value in workload.defaults.items():
        if knob not in KNOBS:
            raise UnknownNameError(f"knob in {whose}", knob, KNOBS)
        if value not in KNOBS[knob].choices:
            raise SpecError(
                f"{knob} in {whose} must be one of {list(KNOBS[knob].choices)}, got {value!r}"
            )
    return {name: workload.defaults.get(name, knob.neutral) for name, knob in KNOBS.items()}


@dataclass(frozen=True, slots=True)
class _Rule:
    choices: tuple[Value, ...]
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
        with located("knobs", number, "knob"):
            _check_knob(line.knob, honoured, platforms)
        with located("knobs", number, "choices"):
            whose = f"choices of {line.knob} for layers {line.layers!r}"
            _check_choices(whose, line.knob, line.choices, platforms)
        choices = tuple(sorted(line.choices, key=KNOBS[line.knob].choices.index))
        with located("knobs", number, "layers"):
            matched = _matched(line, layers)
        for layer in matched:
            rules[line.knob, layer] = _Rule(choices, line.tie, number)
    return rules


def _check_knob(knob: str, honoured: set[str], platforms: Sequence[Platform]) -> None:
    if knob not in KNOBS:
        raise UnknownNameError("knob", knob, KNOBS)
    if knob not in honoured:
        raise SpecError(
            f"knob {knob!r} has no effect: none of the platforms "
            f"{[p.name for p in platforms]} and no evaluator honours it; "
            f"allowed: {sorted(honoured)}"
        )


def _matched(line: KnobLine, layers: Sequence[str]) -> list[str]:
    matched = matching(layers, line.layers)
    if not matched:
        raise SpecError(
            f"layers {line.layers!r} of knob {line.knob!r} matches no layer; "
            f"allowed: {', '.join((*ENDS, *layers))}"
        )
    if KNOBS[line.knob].scope == "design" and matched != list(layers):
        raise SpecError(
            f"{line.knob} is one choice for the whole design, so its layers must be '*', "
            f"got {line.layers!r}"
        )
    return matched


def _check_choices(
    whose: str, knob: str, given: Sequence[Value], platforms: Sequence[Platform]
) -> None:
    takers = {"the catalogue": KNOBS[knob].choices}
    takers |= {p.name: p.knobs[knob] for p in platforms if knob in p.knobs}
    for taker, allowed in takers.items():
        wrong = [value for value in given if value not in allowed]
        if wrong:
            raise SpecError(f"{whose}: {taker} takes {list(allowed)}, got {wrong}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Values:
    """What targets may stand at: by a line, by the workload's default, or neutral."""

    rules: Mapping[Target, _Rule]
    defaults: Mapping[str, Value]
    workload: str
    platforms: Sequence[Platform]

    def common(self, targets: tuple[Target, ...]) -> tuple[Value, ...]:
        """Return what all tied targets allow; those that no line names follow the others."""
        named = [self.rules[target].choices for target in targets if target in self.rules]
        if not named:
            return (self._default(targets),)
        common = tuple(value for value in named[0] if all(value in other for other in named))
        if not common:
            told = (f"{k}@{n} {self.rules[k, n].choices}" for k, n in self._named(targets))
            raise SpecError(
                f"{_gene_name(targets)} share one gene but have no choice in common: "
                + ", ".join(told)
            )
        return common

    def _default(self, targets: tuple[Target, ...]) -> Value:
        values = {knob: self.defaults[knob] for knob, _ in targets}
        if len(set(values.values())) > 1:
            raise SpecError(
                f"{_gene_name(targets)} share one gene but the defaults of workload "
                f"{self.workload!r} differ: {values}; a line of one of these knobs decides"
            )
        for knob, value in values.items():
            if value != KNOBS[knob].neutral:
                whose = f"default of {knob} in workload {self.workload!r}"
                _check_choices(whose, knob, [value], self.platforms)
        return values[targets[0][0]]

    def _named(self, targets: tuple[Target, ...]) -> Iterator[Target]:
        return (target for target in targets if target in self.rules)


def _groups(
    rules: Mapping[Target, _Rule], layers: Sequence[str], platforms: Sequence[Platform]
) -> "_Groups":
    groups = _Groups()
    for target, rule in rules.items():
        groups.tie(target, rule)
    for platform in platforms:
        for tied in platform.tied:
            for layer in layers:
                groups.join([(knob, layer) for knob in tied])
    return groups


@dataclass(slots=True)
class _Groups:
    """Targets that share a gene (a small union-find)."""

    _leader: dict[Target, Target] = field(default_factory=dict)
    _named: dict[tuple[str, str], Target] = field(default_factory=dict)

    def tie(self, target: Target, rule: _Rule) -> None:
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


def _has_effect(target: Target, allowed: Mapping[Target, tuple[Value, ...]], canon: Canon) -> bool:
    """Tell whether any design computes otherwise for this target's value."""
    knob, layer = target
    if not Canon.governed(knob):
        return True
    around = [name for name in canon.governors(knob, layer) if (name, layer) in allowed]
    for values in product(*(allowed[name, layer] for name in around)):
        at = dict(zip(around, values, strict=True))
        forms = {canon.value(knob, layer, {**at, knob: value}) for value in allowed[target]}
        if len(forms) > 1:
            return True
    return False


def _gene_name(targets: tuple[Target, ...]) -> str:
    whole = {knob: None for knob, _ in targets if KNOBS[knob].scope == "design"}
    others = (f"{k}@{layer}" for k, layer in targets if KNOBS[k].scope == "layer")
    return "=".join((*whole, *others))
