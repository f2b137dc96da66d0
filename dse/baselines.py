"""Designs that need no search: uniform widths, and greedy descent by measured sensitivity."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dse.design import Design, Evaluation, Value
from dse.knobs import KNOBS
from dse.metrics import METRICS
from dse.problem import Problem
from dse.space import Gene

GREEDY_BUDGET = 100
"""Networks run by one greedy descent at most, probes included."""

_UNIFORM = ((16, 16), (8, 8), (4, 4), (3, 3), (2, 2), (2, 4), (4, 8))
_WIDTHS = ("w_bits", "a_bits")

Measure = Callable[[Sequence[tuple[str, Design]]], list[Evaluation]]
"""Measures labelled designs, in order; labels starting with "probe" are no baselines."""


def uniform(problem: Problem) -> list[tuple[str, Design]]:
    """Return the uniform widths that every platform takes, labelled.

    A width that the spec does not list is kept (it is a baseline, not a member of the space);
    one that is below what the spec allows at a layer is raised to the lowest choice there, and a
    knob that is not searched keeps its value. Knobs that are no widths of operands stand at the
    workload's default; where that is no choice, numbers at the next higher one, or else the
    highest, words at the first one.
    """
    found: dict[str, tuple[str, Design]] = {}
    for widths in _UNIFORM:
        design = _uniform_design(problem, dict(zip(_WIDTHS, widths, strict=True)))
        if design is not None:
            label = "uniform " + "".join(f"{k[0]}{v}" for k, v in zip("wa", widths, strict=True))
            found.setdefault(design.hash, (label, design))
    return list(found.values())


def greedy(problem: Problem, float_metrics: Mapping[str, float], measure: Measure) -> None:
    """Lower one gene at a time, always the one that buys most for the least error. Words have no
    lower: their genes stay where `uniform` has them.

    First every single lowering from the widest design is probed; then the descent takes, step by
    step, the lowering with the best ratio of gain to probed error, keeps it if the workload's
    constraints still hold, and else never lowers that gene again. Gain is the sum over all cost
    metrics of the spec of the share of their range that a step covers.

    At most GREEDY_BUDGET networks are run. Where the genes are too many to be probed one by one
    within half of that, neighbouring genes move together.
    """
    _Descent(problem, float_metrics, measure).run()


def _uniform_design(problem: Problem, widths: dict[str, int]) -> Design | None:
    space = problem.space
    choices: dict[str, dict[str, Value]] = {knob: {} for knob in space.knobs}
    for (knob, layer), allowed in space.allowed.items():
        lowest = allowed[0]
        if knob in widths and len(allowed) > 1 and isinstance(lowest, int):
            choices[knob][layer] = max(widths[knob], lowest)
        else:
            choices[knob][layer] = _standing(problem, knob, allowed)
    design = space.canon.design(Design(choices))
    for platform in problem.platforms:
        for knob, taken in platform.knobs.items():
            if any(value not in taken for value in design.choices[knob].values()):
                return None
        for tied in platform.tied:
            if any(len({design.value(k, layer) for k in tied}) > 1 for layer in space.layers):
                return None
    return design


def _standing(problem: Problem, knob: str, allowed: tuple[Value, ...]) -> Value:
    default = problem.workload.defaults.get(knob, KNOBS[knob].neutral)
    if default in allowed or not KNOBS[knob].ordered:
        return default if default in allowed else allowed[0]
    order = KNOBS[knob].choices.index
    return next((value for value in allowed if order(value) >= order(default)), allowed[-1])


@dataclass(frozen=True, slots=True)
class _Move:
    """One block of genes lowered from one choice index to the next."""

    block: int
    index: int
    gain: float
    damage: float

    @property
    def price(self) -> float:
        return max(self.damage, 0.0) / self.gain if self.gain > 0 else float("inf")


class _Descent:
    def __init__(
        self, problem: Problem, float_metrics: Mapping[str, float], measure: Measure
    ) -> None:
        self._problem = problem
        self._float_metrics = float_metrics
        self._measure = measure
        self._space = problem.space
        self._top = tuple(self._start(gene) for gene in self._space.genes)
        self._blocks = self._block_genes()

    def run(self) -> None:
        moves = self._probe()
        left = GREEDY_BUDGET - 1 - len(moves)
        state = [max(self._top[g] for g in block) for block in self._blocks]
        for _ in range(left):
            next_moves = [
                moves[block, index - 1]
                for block, index in enumerate(state)
                if (block, index - 1) in moves
            ]
            if not next_moves:
                return
            move = min(next_moves, key=lambda m: (m.price, m.block))
            lowered = state.copy()
            lowered[move.block] = move.index
            name = self._name(move.block)
            [evaluation] = self._measure([(f"greedy {name}", self._design(lowered))])
            if self._tolerable(evaluation):
                state = lowered
            else:
                moves.pop((move.block, move.index))

    def _probe(self) -> dict[tuple[int, int], _Move]:
        """Measure every single lowering from the widest design."""
        start = [max(self._top[g] for g in block) for block in self._blocks]
        tried: list[tuple[int, int]] = []
        designs = [self._design(start)]
        for block, top in enumerate(start):
            for index in reversed(range(top)):
                lowered = start.copy()
                lowered[block] = index
                tried.append((block, index))
                designs.append(self._design(lowered))
        labels = ["greedy start"]
        labels += [f"probe {self._name(block)}:{index}" for block, index in tried]
        evaluations = self._measure(list(zip(labels, designs, strict=True)))
        costs = self._normalised([e.metrics for e in evaluations])
        errors = [e.metrics.get(self._problem.workload.metrics[0]) for e in evaluations]
        table: dict[tuple[int, int], tuple[float, float]] = {
            (block, top): (costs[0], errors[0] or 0.0) for block, top in enumerate(start)
        }
        for place, cost, error in zip(tried, costs[1:], errors[1:], strict=True):
            # a design that could not be measured is as bad as can be
            table[place] = (cost, float("inf") if error is None else error)
        moves = {}
        for block, top in enumerate(start):
            for higher, lower in pairwise(range(top, -1, -1)):
                cost, error = table[block, lower]
                before, error_before = table[block, higher]
                damage = error - error_before if error_before < float("inf") else float("inf")
                moves[block, lower] = _Move(block, lower, before - cost, damage)
        return moves

    def _normalised(self, rows: Sequence[Mapping[str, float]]) -> list[float]:
        """Sum each record's costs up, every metric as a share of its range over the space."""
        ends = [self._design([0] * len(self._blocks)), self._space.decode(self._top)]
        low, high = self._problem.costs(ends)
        totals = []
        for row in rows:
            total = 0.0
            for metric in self._cost_metrics():
                span = abs(high[metric] - low[metric])
                if span > 0:
                    total += METRICS[metric].sign * row[metric] / span
            totals.append(total)
        return totals

    def _cost_metrics(self) -> list[str]:
        spec = self._problem.spec
        named = dict.fromkeys([*spec.objectives, *(c.metric for c in spec.constraints)])
        return [metric for metric in named if metric in self._problem.cost_metrics]

    def _tolerable(self, evaluation: Evaluation) -> bool:
        measured = {
            name: value
            for name, value in evaluation.metrics.items()
            if name in self._problem.workload.metrics
        }
        return evaluation.measured and self._problem.violation(measured, self._float_metrics) <= 0

    def _start(self, gene: Gene) -> int:
        knob, _ = gene.targets[0]
        if KNOBS[knob].ordered:
            return len(gene.choices) - 1
        return gene.choices.index(_standing(self._problem, knob, gene.choices))

    def _block_genes(self) -> list[tuple[int, ...]]:
        genes = [i for i, g in enumerate(self._space.genes) if KNOBS[g.targets[0][0]].ordered]
        for size in range(1, len(genes) + 1):
            blocks = [tuple(genes[i : i + size]) for i in range(0, len(genes), size)]
            probes = sum(max(self._top[g] for g in block) for block in blocks)
            if probes <= GREEDY_BUDGET // 2 or len(blocks) == 1:
                return blocks
        return []

    def _design(self, state: Sequence[int]) -> Design:
        genome = list(self._top)
        for block, index in zip(self._blocks, state, strict=True):
            top = max(self._top[g] for g in block)
            for gene in block:
                # the genes of a block go down together from their own tops
                genome[gene] = max(0, self._top[gene] - (top - index))
        return self._space.decode(genome)

    def _name(self, block: int) -> str:
        names = [self._space.genes[g].name for g in self._blocks[block]]
        return names[0] if len(names) == 1 else f"{names[0]}..{names[-1]}"
