"""A spec with its names resolved: what costs, constraints and objectives of a design are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dse.design import Choices, Design
from dse.errors import EvaluationError, SpecError
from dse.metrics import METRICS
from dse.ports import FloatArray, Platform, Workload
from dse.space import SearchSpace, knob_indices
from dse.spec import Constraint, JobSpec

Metrics = Mapping[str, float]


@dataclass(frozen=True)
class Problem:
    """What a search works on."""

    spec: JobSpec
    workload: Workload
    platforms: tuple[Platform, ...]
    space: SearchSpace

    @cached_property
    def owners(self) -> Mapping[str, tuple[str, ...]]:
        """Cost metrics that several platforms yield -> their qualified names."""
        return ambiguous_metrics(self.platforms)

    @cached_property
    def cost_metrics(self) -> tuple[str, ...]:
        """Names that `costs` yields."""
        once = [m for p in self.platforms for m in p.metrics if m not in self.owners]
        return (*once, *(total for total in self.spec.totals if total not in once))

    @property
    def available_metrics(self) -> tuple[str, ...]:
        return (*self.workload.metrics, *self.cost_metrics)

    def costs(self, designs: Sequence[Design]) -> list[dict[str, float]]:
        """Cost many designs at once: one record of `cost_metrics` a design."""
        if not designs:
            return []
        choices = self.space.knob_indices(designs)
        shape = self.workload.shape
        qualified: dict[str, FloatArray] = {}
        for platform in self.platforms:
            found = platform.cost(shape, {k: choices[k] for k in platform.knobs})
            _check_figures(platform, found)
            qualified |= {f"{platform.name}.{name}": column for name, column in found.items()}
        columns = {}
        for name in self.cost_metrics:
            columns[name] = self._column(name, qualified).tolist()
        return [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]

    def violation(self, metrics: Metrics, float_metrics: Metrics) -> float:
        """Sum up by how much the constraints are broken, each as a share of its limit.

        Constraints on metrics that are not there (a network that was not run) count nothing.
        """
        total = 0.0
        for constraint in self.spec.constraints:
            if constraint.metric in metrics:
                total += _excess(constraint, metrics[constraint.metric], float_metrics)
        return total

    def objectives(self, rows: Sequence[Metrics]) -> FloatArray:
        """Return (n, n_objectives) to minimise; a missing metric stands at 0 (such a design is
        infeasible, and nobody looks at an infeasible design's objectives)."""
        return objectives(self.spec, rows)

    def reference(self, point: Metrics) -> FloatArray:
        """Return a reference point in the form of `objectives`: (n_objectives,)."""
        return self.objectives([point]).reshape(-1)

    def arithmetic(self, design: Design) -> dict[str, dict[str, int | str]]:
        """Return layer -> what the error evaluator must obey; layers without rules left out."""
        return arithmetic(self.platforms, self.workload, design.choices)

    def _column(self, name: str, qualified: Mapping[str, FloatArray]) -> FloatArray:
        parts = self.spec.totals.get(name)
        if parts is None:
            parts = [f"{p.name}.{name}" for p in self.platforms if name in p.metrics]
        total = qualified[parts[0]]
        for part in parts[1:]:
            total = total + qualified[part]
        return total


def objectives(spec: JobSpec, rows: Sequence[Metrics]) -> FloatArray:
    """As `Problem.objectives`, for a spec whose workload and platforms may be gone."""
    signs = [(name, METRICS[name].sign) for name in spec.objectives]
    table = [[sign * row.get(name, 0.0) for name, sign in signs] for row in rows]
    return np.asarray(table, dtype=np.float64).reshape(len(rows), len(signs))


def _check_figures(platform: Platform, found: Mapping[str, FloatArray]) -> None:
    for name, column in found.items():
        if not np.isfinite(column).all():
            raise EvaluationError(
                f"platform {platform.name!r} has no {name} for some designs, so nothing can be "
                "searched on it; `dse cost` says what is wrong by layer"
            )


def ambiguous_metrics(platforms: Sequence[Platform]) -> dict[str, tuple[str, ...]]:
    """Return metrics that more than one platform yields -> `platform.metric` names."""
    owners: dict[str, list[str]] = {}
    for platform in platforms:
        for metric in platform.metrics:
            owners.setdefault(metric, []).append(f"{platform.name}.{metric}")
    return {metric: tuple(names) for metric, names in owners.items() if len(names) > 1}


def arithmetic(
    platforms: Sequence[Platform], workload: Workload, choices: Choices
) -> dict[str, dict[str, int | str]]:
    """As `Problem.arithmetic`, for designs of no particular space."""
    rules: dict[str, dict[str, int | str]] = {}
    source: dict[str, str] = {}
    for platform in platforms:
        for layer in workload.shape.layers:
            values = {knob: chosen[layer.name] for knob, chosen in choices.items()}
            told = platform.arithmetic(layer, values)
            if told and layer.name in source:
                raise SpecError(
                    "at most one platform may decide the arithmetic, got "
                    f"{source[layer.name]!r} and {platform.name!r}"
                )
            if told:
                rules[layer.name] = dict(told)
                source[layer.name] = platform.name
    return rules


def costs_of(
    platform: Platform,
    workload: Workload,
    designs: Sequence[Design],
    *,
    knobs: Iterable[str] | None = None,
) -> dict[str, FloatArray]:
    """Cost designs of no particular space on one platform.

    Args:
        knobs: those of the platform that every design states, the others stand at neutral; None:
            all of them.
    """
    stated = platform.knobs if knobs is None else knobs
    choices = knob_indices(designs, stated, workload.shape.names)
    return platform.cost(workload.shape, choices)


def _excess(constraint: Constraint, value: float, float_metrics: Metrics) -> float:
    if constraint.min is not None:
        return max(0.0, constraint.min - value) / _scale(constraint.min)
    limit = constraint.max
    if limit is None:
        limit = float_metrics[constraint.metric] + (constraint.max_increase or 0.0)
    return max(0.0, value - limit) / _scale(limit)


def _scale(limit: float) -> float:
    return abs(limit) or 1.0
