"""A front costed once more, on another platform."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from dse.design import Evaluation
from dse.errors import DseError
from dse.ports import Platform, Workload
from dse.problem import costs_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Recost:
    """What another platform says of a design.

    Attributes:
        costs: metric -> figure; None where the platform has none.
        reason: why it has none, or does not take the design.
    """

    evaluation: Evaluation
    costs: dict[str, float | None] = field(default_factory=dict)
    reason: str | None = None


def recosts(
    evaluations: Sequence[Evaluation], workload: Workload, platform: Platform
) -> Iterator[Recost]:
    """Cost designs one by one; one that cannot be costed says why, and the rest goes on."""
    for evaluation in evaluations:
        try:
            yield _recost(evaluation, workload, platform)
        except DseError as error:
            yield Recost(evaluation=evaluation, reason=str(error))


def _recost(evaluation: Evaluation, workload: Workload, platform: Platform) -> Recost:
    stated = [knob for knob in platform.knobs if knob in evaluation.design.choices]
    found = costs_of(platform, workload, [evaluation.design], knobs=stated)
    costs = {name: float(column[0]) for name, column in found.items()}
    known = {name: None if math.isnan(cost) else cost for name, cost in costs.items()}
    reason = None
    if None in known.values():
        parts = platform.breakdown(workload.shape, evaluation.design)
        failed = [f"layer {part['layer']}: {part['failed']}" for part in parts if "failed" in part]
        reason = "; ".join(failed) or f"{platform.name} has no figure"
    return Recost(evaluation=evaluation, costs=known, reason=reason)
