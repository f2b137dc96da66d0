"""The generation loop: ask, cost, screen, evaluate, tell, commit.

Whatever happens, the same spec gives the same rows: every step is a function of the spec and of
what is stored, a resumed run repeats the generation it was in and finds its measurements in the
store.
"""

from collections.abc import Sequence
from typing import final

import numpy as np

from dse import baselines
from dse.beacons import Policy
from dse.design import Design, Evaluation
from dse.errors import DriftError, EvaluationError, SpecError
from dse.judging import Judged, Judging
from dse.measuring import Measuring
from dse.metrics import METRICS
from dse.optimizers.making import make_optimizer
from dse.optimizers.protocol import Optimizer
from dse.pareto import hypervolume, non_dominated
from dse.ports import (
    EvaluationKey,
    FloatArray,
    Foundation,
    GenerationRecord,
    IntArray,
    Pool,
    Progress,
    RetrainingKey,
    Role,
    RunStore,
    Vault,
)
from dse.problem import Problem
from dse.running import Runner
from dse.tasks import Report, Status


@final
class Search:
    """One job's search, from its float baseline to the test figures of its front."""

    def __init__(
        self,
        problem: Problem,
        *,
        pool: Pool,
        store: RunStore,
        vault: Vault,
        key: EvaluationKey,
        retraining_key: RetrainingKey,
        progress: Progress,
    ) -> None:
        self._problem = problem
        self._store = store
        self._vault = vault
        self._retraining_key = retraining_key
        self._progress = progress
        self._runner = Runner(pool=pool, store=store, vault=vault, report=self._reported)
        self._measuring = Measuring(
            problem, runner=self._runner, store=store, key=key, progress=progress
        )
        self._float_metrics: dict[str, float] = {}
        self._known: dict[Role, dict[str, Evaluation]] = {Role.BASELINE: {}, Role.PROBE: {}}
        self._batches = {Role.BASELINE: 0, Role.PROBE: 0}

    def run(self) -> None:
        """Run to the last generation, from wherever the store stands.

        Raises:
            EvaluationError: nothing can be measured.
            DriftError: this version would not repeat what is stored, or the network is another.
            FencedOutError: another driver has taken the job over.
            Interrupted: a stop was asked for.
        """
        self._refuse_another_network()
        foundation = self._lay_foundation()
        reference = self._problem.reference(foundation.reference_point)
        optimizer, done = self._optimizer()
        judging = self._judging()
        front = self._store.front()
        settings = self._problem.spec.search
        total = settings.population + settings.offspring * (settings.generations - 1)
        while optimizer.generation < settings.generations:
            self._progress("searching", done, max(done, total))
            genomes = optimizer.ask()
            if not len(genomes):
                self._store.note("search.exhausted", {"generation": optimizer.generation})
                break
            front = self._generation(optimizer, judging, genomes, front, reference)
            done += len(genomes)
        self._progress("searching", done, done)
        self._measure_test_split(front, judging)

    def _refuse_another_network(self) -> None:
        """A job whose last generation is finished proposes nothing again that would tell."""
        last = self._store.last_generation()
        stored = [] if last is None else self._store.evaluations_since(last.number)
        if any(e.key != self._measuring.request(e.design, "search").key for e in stored[:1]):
            raise DriftError.other_network(f"search generation {stored[0].generation}")

    def _lay_foundation(self) -> Foundation:
        self._float_metrics = self._measuring.float_network("search")
        spec = self._problem.spec
        if "uniform" in spec.search.baselines:
            self._baselines(baselines.uniform(self._problem))
        if "greedy" in spec.search.baselines:
            baselines.greedy(self._problem, self._float_metrics, self._baselines)
        stored = self._store.foundation()
        if stored is not None:
            if {**stored.float_metrics, **self._float_metrics} != stored.float_metrics:
                raise DriftError.other_network("the float network")
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

    def _optimizer(self) -> tuple[Optimizer, int]:
        """Return the optimizer where the store left it, and how many designs that took."""
        space = self._problem.space
        optimizer = make_optimizer(
            self._problem.spec.search,
            space.cardinalities,
            self._seed_genomes(),
            canonical=space.canonical,
            idle=space.idle,
        )
        last = self._store.last_generation()
        if last is None:
            return optimizer, 0
        seen = self._store.genomes()
        optimizer.restore(last.state, seen, self._store.states)
        return optimizer, len(seen)

    def _judging(self) -> Judging:
        error = self._float_metrics["error"]
        return Judging(
            self._problem,
            policy=Policy(rules=self._problem.spec.beacons, float_error=error),
            float_metrics=self._float_metrics,
            measuring=self._measuring,
            runner=self._runner,
            store=self._store,
            vault=self._vault,
            key=self._retraining_key,
        )

    def _reported(self, report: Report) -> None:
        self._progress(report.label, report.done, report.total)

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
        optimizer: Optimizer,
        judging: Judging,
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
        judged = self._judged(judging, optimizer, evaluations, front)
        self._tell(optimizer, genomes, judged)
        renewed = {e.design.hash: e for e in [*front, *judged.evaluations, *judged.revised]}
        front = self._non_dominated([e for e in renewed.values() if e.feasible])
        record = GenerationRecord(
            number=number,
            state=optimizer.state(),
            hypervolume=self._hypervolume(front, reference),
            front=tuple(e.design.hash for e in front),
            counts={"designs": len(evaluations), **self._measuring.counts},
        )
        self._store.finish_generation(
            record, judged.evaluations, revised=judged.revised, beacons=judged.made
        )
        return front

    def _judged(
        self,
        judging: Judging,
        optimizer: Optimizer,
        evaluations: list[Evaluation],
        front: Sequence[Evaluation],
    ) -> Judged:
        if not self._problem.spec.beacons.enabled:
            return Judged(evaluations, [], [])
        survivors = [self._problem.space.decode(g).hash for g in optimizer.survivors()]
        # the front's order in memory is not the one it is read back in
        earlier = [*survivors, *sorted(e.design.hash for e in front)]
        return judging.judge(optimizer.generation, evaluations, earlier)

    def _tell(self, optimizer: Optimizer, genomes: IntArray, judged: Judged) -> None:
        if judged.revised:
            encoded = [self._problem.space.encode(e.design) for e in judged.revised]
            optimizer.revise(np.asarray(encoded, dtype=np.int64), *self._figures(judged.revised))
        optimizer.tell(genomes, *self._figures(judged.evaluations))

    def _figures(self, evaluations: Sequence[Evaluation]) -> tuple[FloatArray, FloatArray]:
        objectives = self._problem.objectives([e.metrics for e in evaluations])
        return objectives, np.asarray([e.violation for e in evaluations])

    def _refuse_hopeless(self, evaluations: Sequence[Evaluation]) -> None:
        verdicts = tuple(f"{status}: " for status in Status)
        reasons = {e.reason for e in evaluations if e.reason is not None}
        failed = sorted(reason for reason in reasons if reason.startswith(verdicts))
        if failed:
            raise EvaluationError(f"no design can be measured; the first says: {failed[0]}")

    def _measure_test_split(self, front: list[Evaluation], judging: Judging) -> None:
        """Look at the test split: once, at the end, for the front and what stands beside it."""
        known = list(self._known[Role.BASELINE].values())
        for role, rows in ((Role.SEARCH, front), (Role.BASELINE, known)):
            designs = judging.on_their_weights(e for e in rows if e.measured)
            found = self._measuring.on_test_split(designs)
            self._store.add_test_metrics(role, found)
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
