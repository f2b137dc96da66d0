"""The generation loop: ask, cost, screen, evaluate, tell, commit.

Whatever happens, the same spec gives the same rows: every step is a function of the spec and of
what is stored, a resumed run repeats the generation it was in and finds its measurements in the
store.
"""

from collections.abc import Sequence
from typing import final

import numpy as np

from dse import baselines
from dse.design import Design, Evaluation
from dse.errors import EvaluationError, SpecError
from dse.measuring import Measuring
from dse.metrics import METRICS
from dse.optimizers.nsga2 import Nsga2
from dse.pareto import hypervolume, non_dominated
from dse.ports import (
    EvaluationKey,
    FloatArray,
    Foundation,
    GenerationRecord,
    IntArray,
    Pool,
    Progress,
    Role,
    RunStore,
    Status,
)
from dse.problem import Problem


@final
class Search:
    """One job's search, from its float baseline to the test figures of its front."""

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
        self._store = store
        self._progress = progress
        self._measuring = Measuring(problem, pool=pool, store=store, key=key, progress=progress)
        self._float_metrics: dict[str, float] = {}
        self._known: dict[Role, dict[str, Evaluation]] = {Role.BASELINE: {}, Role.PROBE: {}}
        self._batches = {Role.BASELINE: 0, Role.PROBE: 0}

    def run(self) -> None:
        """Run to the last generation, from wherever the store stands.

        Raises:
            EvaluationError: nothing can be measured.
            DriftError: this version would not repeat what is stored.
            FencedOutError: another driver has taken the job over.
            Interrupted: a stop was asked for.
        """
        foundation = self._lay_foundation()
        reference = self._problem.reference(foundation.reference_point)
        optimizer, done = self._optimizer()
        front = self._store.front()
        settings = self._problem.spec.search
        total = settings.population + settings.offspring * (settings.generations - 1)
        while optimizer.generation < settings.generations:
            self._progress("searching", done, max(done, total))
            genomes = optimizer.ask()
            if not len(genomes):
                self._store.note("search.exhausted", {"generation": optimizer.generation})
                break
            front = self._generation(optimizer, genomes, front, reference)
            done += len(genomes)
        self._progress("searching", done, done)
        self._measure_test_split(front)

    def _lay_foundation(self) -> Foundation:
        self._float_metrics = self._measuring.float_network("search")
        spec = self._problem.spec
        if "uniform" in spec.search.baselines:
            self._baselines(baselines.uniform(self._problem))
        if "greedy" in spec.search.baselines:
            baselines.greedy(self._problem, self._float_metrics, self._baselines)
        stored = self._store.foundation()
        if stored is not None:
            return stored
        point = spec.reference_point or self._worst_baselines()
        foundation = Foundation(float_metrics=self._float_metrics, reference_point=point)
        self._store.lay_foundation(foundation)
        return foundation

    def _baselines(self, named: Sequence[tuple[str, Design]]) -> list[Evaluation]:
        """Evaluate baselines and probes, each design once in its role."""
        found = []
        for role in (Role.BASELINE, Role.PROBE):
            known = self._known[role]
            mine = [(n, d) for n, d in named if n.startswith("probe") is (role is Role.PROBE)]
            new = {d.hash: (label, d) for label, d in mine if d.hash not in known}
            if new:
                labels, designs = zip(*new.values(), strict=True)
                evaluations = self._measuring.designs(
                    role,
                    self._batches[role],
                    designs,
                    float_metrics=self._float_metrics,
                    labels=labels,
                    report="measuring baselines" if len(new) > 1 else None,
                )
                self._store.conclude(role, evaluations)
                self._batches[role] += 1
                known |= {e.design.hash: e for e in evaluations}
            found += [(design.hash, known[design.hash]) for _, design in mine]
        by_hash = dict(found)
        return [by_hash[design.hash] for _, design in named]

    def _worst_baselines(self) -> dict[str, float]:
        """Return the worst value of each objective over the feasible baselines (over all, if
        none is feasible): the reference point of a spec that names none."""
        known = [e for e in self._known[Role.BASELINE].values() if e.measured]
        rows = [e.metrics for e in known if e.feasible] or [e.metrics for e in known]
        if not rows:
            raise SpecError(
                "reference_point must be given when no baseline could be measured; "
                f"allowed: one number for each of {self._problem.spec.objectives}"
            )
        worst = self._problem.objectives(rows).max(axis=0)
        # +0.0: a maximised objective of 0 must not become -0.0
        return {
            name: float(value * METRICS[name].sign + 0.0)
            for name, value in zip(self._problem.spec.objectives, worst, strict=True)
        }

    def _optimizer(self) -> tuple[Nsga2, int]:
        """Return the optimizer where the store left it, and how many designs that took."""
        settings = self._problem.spec.search
        optimizer = Nsga2(
            self._problem.space.cardinalities,
            population=settings.population,
            offspring=settings.offspring,
            seed=settings.seed,
            first=self._seed_genomes(),
        )
        last = self._store.last_generation()
        if last is None:
            return optimizer, 0
        seen = self._store.genomes()
        optimizer.restore(last.state, seen)
        return optimizer, len(seen)

    def _seed_genomes(self) -> IntArray:
        """Return the genomes of the feasible, non-dominated baselines that the spec asks for."""
        settings, space = self._problem.spec.search, self._problem.space
        wanted = tuple(settings.seed_designs)
        rows = [
            e
            for e in self._known[Role.BASELINE].values()
            if e.feasible and (e.label or "").startswith(wanted) and wanted
        ]
        rows = self._non_dominated(rows)
        genomes = [space.encode(e.design) for e in rows]
        found = [genome for genome in genomes if genome is not None]
        return np.asarray(found, dtype=np.int64).reshape(len(found), len(space.genes))

    def _generation(
        self,
        optimizer: Nsga2,
        genomes: IntArray,
        front: list[Evaluation],
        reference: FloatArray,
    ) -> list[Evaluation]:
        """Evaluate one generation, tell it and store its end; return the front after it."""
        self._measuring.reset()
        number = optimizer.generation
        evaluations = self._measuring.designs(
            Role.SEARCH,
            number,
            [self._problem.space.decode(genome) for genome in genomes],
            float_metrics=self._float_metrics,
            genomes=[tuple(genome) for genome in genomes.tolist()],
        )
        if number == 0 and not any(e.measured for e in evaluations):
            self._refuse_hopeless(evaluations)
        objectives = self._problem.objectives([e.metrics for e in evaluations])
        violations = np.asarray([e.violation for e in evaluations])
        optimizer.tell(genomes, objectives, violations)
        front = self._non_dominated([*front, *(e for e in evaluations if e.feasible)])
        record = GenerationRecord(
            number=number,
            state=optimizer.state(),
            hypervolume=self._hypervolume(front, reference),
            front=tuple(e.design.hash for e in front),
            counts={"designs": len(evaluations), **self._measuring.counts},
        )
        self._store.finish_generation(record, evaluations)
        return front

    def _refuse_hopeless(self, evaluations: Sequence[Evaluation]) -> None:
        verdicts = tuple(f"{status}: " for status in Status)
        reasons = {e.reason for e in evaluations if e.reason is not None}
        failed = sorted(reason for reason in reasons if reason.startswith(verdicts))
        if failed:
            raise EvaluationError(f"no design can be measured; the first says: {failed[0]}")

    def _measure_test_split(self, front: list[Evaluation]) -> None:
        """Look at the test split: once, at the end, for the front and what stands beside it."""
        known = list(self._known[Role.BASELINE].values())
        designs = {e.design.hash: e.design for e in [*front, *known] if e.measured}
        found = self._measuring.on_test_split(list(designs.values()))
        for role, rows in ((Role.SEARCH, front), (Role.BASELINE, known)):
            hashes = [e.design.hash for e in rows if e.design.hash in found]
            self._store.add_test_metrics(role, {h: found[h] for h in hashes})
        for split in self._problem.workload.splits:
            if split != "search":
                figures = self._measuring.float_network(split)
                self._store.add_float_metrics({f"{split}_{n}": v for n, v in figures.items()})

    def _non_dominated(self, rows: Sequence[Evaluation]) -> list[Evaluation]:
        """Return the non-dominated rows, ordered by objectives and then by hash."""
        if not rows:
            return []
        objectives = self._problem.objectives([e.metrics for e in rows])
        kept = np.flatnonzero(non_dominated(objectives)).tolist()
        kept.sort(key=lambda i: (objectives[i].tolist(), rows[i].design.hash))
        return [rows[i] for i in kept]

    def _hypervolume(self, rows: Sequence[Evaluation], reference: FloatArray) -> float:
        if not rows:
            return 0.0
        return hypervolume(self._problem.objectives([e.metrics for e in rows]), reference)
