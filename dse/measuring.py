"""From designs to evaluations: cost, store, screen, run."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import final

from dse.design import Choices, Design, Evaluation
from dse.errors import EvaluationError
from dse.metrics import TEST_PREFIX
from dse.ports import EvaluationKey, Progress, Proposal, Role, RunStore
from dse.problem import Metrics, Problem
from dse.running import Results, Runner
from dse.tasks import Request

BASE = "base"


@final
class Measuring:
    """Measures designs of one job on the base weights; every row is stored before it may run.

    Attributes:
        counts: since `reset`: designs measured, how many of those the store could answer,
            designs screened by cost, designs that could not be measured.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        runner: Runner,
        store: RunStore,
        key: EvaluationKey,
        progress: Progress,
    ) -> None:
        self._problem = problem
        self._runner = runner
        self._store = store
        self._key = key
        self._progress = progress
        self.reset()

    def reset(self) -> None:
        self.counts = {"measured": 0, "cached": 0, "screened": 0, "failed": 0}

    def float_network(self, split: str) -> dict[str, float]:
        """Measure the unquantized network.

        Raises:
            EvaluationError: it cannot be measured, so nothing can.
        """
        request = self._request(None, {}, split)
        found = self._run([request], "float network")
        if request.key not in found.metrics:
            reason = found.reasons[request.key]
            raise EvaluationError(f"the unquantized network cannot be measured: {reason}")
        return found.metrics[request.key]

    def designs(
        self,
        role: Role,
        generation: int,
        designs: Sequence[Design],
        *,
        float_metrics: Metrics,
        genomes: Sequence[tuple[int, ...]] | None = None,
        labels: Sequence[str] | None = None,
        report: str | None = None,
    ) -> list[Evaluation]:
        """Evaluate designs on the search split, in order; their rows are stored beforehand.

        Designs of the search whose costs already break a constraint are not run.

        Args:
            genomes: of each design, where it has one.
            labels: of each design, for baselines.
            report: what the progress is called; None: not reported.
        """
        proposals = self._proposals(designs, genomes, labels)
        self._store.propose(role, generation, proposals)
        screened = [role is Role.SEARCH and p.violation > 0 for p in proposals]
        requests = {
            p.key: self.request(p.design, "search")
            for p, skip in zip(proposals, screened, strict=True)
            if not skip
        }
        results = self._run(list(requests.values()), report)
        evaluations = []
        for position, proposal in enumerate(proposals):
            evaluation = self._evaluation(proposal, results, float_metrics)
            evaluations.append(replace(evaluation, generation=generation, position=position))
        self.counts["screened"] += sum(screened)
        return evaluations

    def on_test_split(
        self, designs: Sequence[tuple[Design, str | None]]
    ) -> dict[str, dict[str, float]]:
        """Measure designs on the test split: hash -> `test_…` metrics, as far as measurable.

        Args:
            designs: each once, with the weights (SHA-256) that its error came from; None: base.
        """
        requests = {d.hash: self.request(d, "test", weights) for d, weights in designs}
        results = self._run(list(requests.values()), "measuring on the test split")
        return {
            design_hash: {TEST_PREFIX + name: v for name, v in results.metrics[r.key].items()}
            for design_hash, r in requests.items()
            if r.key in results.metrics
        }

    def request(self, design: Design, split: str, weights: str | None = None) -> Request:
        """Return the request to measure a design, on beacon weights (SHA-256) or the base's."""
        arithmetic = self._problem.arithmetic(design)
        return self._request(design.choices, arithmetic, split, weights)

    def _proposals(
        self,
        designs: Sequence[Design],
        genomes: Sequence[tuple[int, ...]] | None,
        labels: Sequence[str] | None,
    ) -> list[Proposal]:
        costs = self._problem.costs(designs)
        proposals = []
        for i, (design, cost) in enumerate(zip(designs, costs, strict=True)):
            arithmetic = self._problem.arithmetic(design)
            proposals.append(
                Proposal(
                    design=design,
                    genome=None if genomes is None else genomes[i],
                    costs=cost,
                    violation=self._problem.violation(cost, {}),
                    key=self._key(design.choices, arithmetic, "search"),
                    label=None if labels is None else labels[i],
                )
            )
        return proposals

    def _evaluation(
        self, proposal: Proposal, results: Results, float_metrics: Metrics
    ) -> Evaluation:
        found = results.metrics.get(proposal.key)
        plain = Evaluation(
            design=proposal.design,
            metrics=proposal.costs,
            feasible=False,
            violation=proposal.violation,
            key=proposal.key,
            label=proposal.label,
        )
        if found is not None:
            return measured(self._problem, plain, found, float_metrics, origin=BASE)
        reason = results.reasons.get(proposal.key)
        if reason is None:
            return replace(plain, reason="its costs break a constraint")
        # what cannot be measured breaks a constraint of its own, by 1
        return replace(plain, violation=1.0 + proposal.violation, reason=reason)

    def _request(
        self,
        choices: Choices | None,
        arithmetic: dict[str, dict[str, int | str]],
        split: str,
        weights: str | None = None,
    ) -> Request:
        return Request(
            key=self._key(choices, arithmetic, split, weights),
            choices=choices,
            arithmetic=arithmetic,
            split=split,
            timeout_s=self._problem.spec.evaluation.timeout_s,
            weights=weights,
        )

    def _run(self, requests: Sequence[Request], report: str | None) -> Results:
        progress = {} if report is None else {"progress": partial(self._progress, report)}
        results = self._runner.run(requests, **progress)
        self.counts["cached"] += results.recalled
        self.counts["measured"] += len(results.metrics)
        self.counts["failed"] += len(results.reasons)
        return results


def measured(
    problem: Problem,
    evaluation: Evaluation,
    found: Metrics,
    float_metrics: Metrics,
    *,
    origin: str,
) -> Evaluation:
    """Return `evaluation` with the workload's metrics as `found`, and judged by the constraints.
    What the test split gave on other weights holds no more."""
    kept = {n: v for n, v in evaluation.metrics.items() if not n.startswith(TEST_PREFIX)}
    metrics = {**kept, **found}
    violation = problem.violation(metrics, float_metrics)
    base_error = found["error"] if origin == BASE else evaluation.base_error
    return replace(
        evaluation,
        metrics=metrics,
        feasible=violation <= 0,
        violation=violation,
        origin=origin,
        base_error=base_error,
    )
