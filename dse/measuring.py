"""From designs to evaluations: cost, store, screen, recall, run, store."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

from dse.design import Choices, Design, Evaluation
from dse.dispatch import Dispatch
from dse.errors import EvaluationError
from dse.metrics import TEST_PREFIX
from dse.ports import (
    EvaluationKey,
    Outcome,
    Pool,
    Progress,
    Proposal,
    Request,
    Role,
    RunStore,
    silent,
)
from dse.problem import Metrics, Problem


@final
class Measuring:
    """Measures designs of one job; each network run is paid for once and stored at once.

    Attributes:
        counts: since `reset`: designs measured, how many of those the store could answer,
            designs screened by cost, designs that could not be measured.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        pool: Pool,
        store: RunStore,
        key: EvaluationKey,
        progress: Progress,
    ) -> None:
        self._problem = problem
        self._pool = pool
        self._store = store
        self._key = key
        self._progress = progress
        self._suspects: set[str] | None = None
        self.reset()

    def reset(self) -> None:
        self.counts = {"measured": 0, "cached": 0, "screened": 0, "failed": 0}

    def float_network(self, split: str) -> dict[str, float]:
        """Measure the unquantized network.

        Raises:
            EvaluationError: it cannot be measured, so nothing can.
        """
        request = self._request(None, {}, split)
        found = self._results([request], "float network")[request.key]
        if isinstance(found, str):
            raise EvaluationError(f"the unquantized network cannot be measured: {found}")
        return found

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
            p.key: self._request(p.design.choices, self._problem.arithmetic(p.design), "search")
            for p, skip in zip(proposals, screened, strict=True)
            if not skip
        }
        results = self._results(list(requests.values()), report)
        evaluations = []
        for position, (proposal, skip) in enumerate(zip(proposals, screened, strict=True)):
            found = "costs" if skip else results[proposal.key]
            evaluation = self._evaluation(proposal, found, float_metrics)
            evaluations.append(replace(evaluation, generation=generation, position=position))
        self.counts["screened"] += sum(screened)
        return evaluations

    def on_test_split(self, designs: Sequence[Design]) -> dict[str, dict[str, float]]:
        """Measure designs on the test split: hash -> `test_…` metrics, as far as measurable."""
        requests = {
            d.hash: self._request(d.choices, self._problem.arithmetic(d), "test") for d in designs
        }
        results = self._results(list(requests.values()), "measuring on the test split")
        found = {}
        for design_hash, request in requests.items():
            result = results[request.key]
            if not isinstance(result, str):
                found[design_hash] = {TEST_PREFIX + name: v for name, v in result.items()}
        return found

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
        self, proposal: Proposal, found: dict[str, float] | str, float_metrics: Metrics
    ) -> Evaluation:
        design, label = proposal.design, proposal.label
        if isinstance(found, str):
            # what cannot be measured breaks a constraint of its own, by 1
            violation = proposal.violation if found == "costs" else 1.0 + proposal.violation
            return Evaluation(
                design=design,
                metrics=proposal.costs,
                feasible=False,
                violation=violation,
                reason="its costs break a constraint" if found == "costs" else found,
                key=proposal.key,
                label=label,
            )
        metrics = {**found, **proposal.costs}
        violation = self._problem.violation(metrics, float_metrics)
        return Evaluation(
            design=design,
            metrics=metrics,
            feasible=violation <= 0,
            violation=violation,
            origin="base",
            key=proposal.key,
            label=label,
        )

    def _request(
        self, choices: Choices | None, arithmetic: dict[str, dict[str, int | str]], split: str
    ) -> Request:
        return Request(
            key=self._key(choices, arithmetic, split),
            choices=choices,
            arithmetic=arithmetic,
            split=split,
            timeout_s=self._problem.spec.evaluation.timeout_s,
        )

    def _results(
        self, requests: Sequence[Request], report: str | None
    ) -> dict[str, dict[str, float] | str]:
        """Return key -> metrics, or the reason why there are none."""
        if self._suspects is None:
            # before any verdict is read: a third death alone makes one
            self._suspects = self._store.suspects()
        results: dict[str, dict[str, float] | str] = {
            **self._store.recall(request.key for request in requests)
        }
        self.counts["cached"] += len(results)
        self.counts["measured"] += len(results)
        verdicts = self._store.verdicts(r.key for r in requests if r.key not in results)
        self.counts["failed"] += len(verdicts)
        results |= verdicts
        missing = {r.key: r for r in requests if r.key not in results}
        if missing:
            progress = silent if report is None else self._progress
            dispatch = Dispatch(self._pool, self._store, _counted(progress, report, len(missing)))
            for outcome in dispatch.run(list(missing.values()), suspects=self._suspects):
                results[outcome.key] = self._read(outcome)
        return results

    def _read(self, outcome: Outcome) -> dict[str, float] | str:
        if outcome.metrics is not None:
            self.counts["measured"] += 1
            return dict(outcome.metrics)
        self.counts["failed"] += 1
        return outcome.verdict


def _counted(progress: Progress, report: str | None, total: int) -> Callable[[int], None]:
    return lambda done: progress(report or "", done, total)
