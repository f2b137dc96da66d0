"""NSGA-II over integer genes in ask/tell form (Deb et al. 2002, doi:10.1109/4235.996017).

Simulated binary crossover and polynomial mutation are pymoo's; selection, survival and rounding
are ours, since their ties must not depend on the CPU. Between generations the state is the
population alone: random numbers are derived from (seed, generation).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
from pymoo.operators.crossover.sbx import cross_sbx
from pymoo.operators.mutation.pm import mut_pm

from dse.errors import SpecError
from dse.optimizers.batch import (
    ATTEMPTS,
    Batch,
    Canonical,
    Idle,
    no_genomes,
    none_idle,
    opening,
    unchanged,
)
from dse.optimizers.rows import Rows, refuse_foreign
from dse.pareto import crowding_by_rank, ranks
from dse.ports import FloatArray, IntArray
from dse.randomness import generator


@final
class Nsga2:
    """Ask for genomes, tell their objectives, generation by generation.

    Args:
        cardinalities: number of choices of each gene.
        population: designs that survive a generation, and that the first one asks for.
        offspring: designs asked for in every generation but the first.
        seed: seed of the whole search.
        first: genomes (n, n_genes) that open the first generation; the rest is random. All of
            them are asked for, even if they are more than the population.
        canonical: of genomes with one design, which is asked for.
        idle: which genes of a genome have no effect. Parents have them drawn at random: in the
            canonical form they stand at neutral, and a child in which one comes to have an effect
            would nearly always have it there, untried.
        eta: distribution index of crossover and mutation (3: `int_sbx`, `int_pm` of MOHAQ).
        crossover_rate: probability that a pair is crossed.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        *,
        population: int,
        offspring: int,
        seed: int,
        first: IntArray | None = None,
        canonical: Canonical = unchanged,
        idle: Idle = none_idle,
        eta: float = 3.0,
        crossover_rate: float = 1.0,
    ) -> None:
        if population < 2 or offspring < 1:
            raise SpecError(
                "population must be at least 2 and offspring at least 1, "
                f"got {population} and {offspring}"
            )
        self._upper = np.asarray(cardinalities, dtype=np.int64) - 1
        self._population = population
        self._offspring = offspring
        self._seed = seed
        self._canonical = canonical
        self._idle = idle
        self._eta = eta
        self._crossover_rate = crossover_rate
        n_genes = len(self._upper)
        self._first = no_genomes(n_genes) if first is None else first
        self._rows = Rows.none(n_genes)
        self._seen: set[bytes] = set()
        self.generation = 0

    def ask(self) -> IntArray:
        """Return this generation's genomes, as the protocol says."""
        if self.generation == 0:
            return opening(
                self._upper,
                size=self._population,
                seed=self._seed,
                first=self._first,
                canonical=self._canonical,
            )
        rng = generator(self._seed, "nsga2.ask", self.generation)
        batch = Batch(self._offspring, self._upper, self._seen, self._canonical)
        for _ in range(ATTEMPTS):
            if batch.missing:
                batch.take(self._mate(batch.missing, rng))
        batch.fill(rng)
        return batch.genomes()

    def survivors(self) -> IntArray:
        """Return the population: (n, n_genes)."""
        return self._rows.genomes

    def revise(self, genomes: IntArray, objectives: FloatArray, violations: FloatArray) -> None:
        """Take in better figures of genomes told before; those that did not survive may now."""
        better = Rows(genomes, objectives, violations)
        told = [i for i, key in enumerate(better.keys()) if key in self._seen]
        self._rows = self._rows.with_revised(better.picked(np.asarray(told, dtype=np.int64)))

    def tell(self, genomes: IntArray, objectives: FloatArray, violations: FloatArray) -> None:
        """Take in what was asked for and choose the next population."""
        told = Rows(genomes, objectives, violations)
        self._seen.update(told.keys())
        self._rows = self._rows.joined(told).best(self._population)
        self.generation += 1

    def state(self) -> dict[str, object]:
        """Return the population as JSON data; with the genomes seen it is the whole state."""
        return {
            "algorithm": "nsga2",
            "generation": self.generation,
            **self._rows.as_json(),
        }

    def restore(
        self,
        state: Mapping[str, Any],
        seen: IntArray,
        states: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> None:
        """Continue after a stored generation; the states before the last are not asked for."""
        refuse_foreign(state, "nsga2")
        self.generation = int(state["generation"])
        self._rows = Rows.of_json(state, len(self._upper))
        self._seen = {row.tobytes() for row in np.ascontiguousarray(seen, dtype=np.int64)}

    def _mate(self, count: int, rng: np.random.Generator) -> IntArray:
        pairs = (count + 1) // 2
        chosen = self._rows.genomes[self._tournament(2 * pairs, rng)]
        parents = self._stirred(chosen, rng).reshape(2, pairs, -1)
        # half a step beyond the outermost choices, so that rounding treats every choice alike
        low = np.full(len(self._upper), -0.5)
        high = self._upper + 0.5 - 1e-9
        column = np.ones((pairs, 1))
        crossed = cross_sbx(
            parents.astype(np.float64),
            low,
            high,
            self._eta * column,
            np.where(rng.random((pairs, 1)) < self._crossover_rate, 0.5, 0.0),
            0.5 * column,
            random_state=rng,
        )
        children = self._round(crossed.transpose(1, 0, 2).reshape(2 * pairs, -1))
        mutated = mut_pm(
            children.astype(np.float64),
            low,
            high,
            np.full(len(children), self._eta),
            np.full(len(children), 1.0 / len(self._upper)),
            at_least_once=False,
            random_state=rng,
        )
        return self._round(mutated)[:count]

    def _stirred(self, genomes: IntArray, rng: np.random.Generator) -> IntArray:
        idle = self._idle(genomes)
        if not idle.any():
            return genomes
        return np.where(idle, rng.integers(0, self._upper + 1, size=genomes.shape), genomes)

    def _tournament(self, count: int, rng: np.random.Generator) -> IntArray:
        objectives, violations = self._rows.objectives, self._rows.violations
        rank = ranks(objectives, violations)
        distance = crowding_by_rank(objectives, violations, rank)
        place = np.empty(len(rank), dtype=np.int64)
        place[np.lexsort((np.arange(len(rank)), -distance, rank))] = np.arange(len(rank))
        entrants = rng.integers(0, len(rank), size=(count, 2))
        winners = np.where(place[entrants[:, 0]] <= place[entrants[:, 1]], *entrants.T)
        return np.asarray(winners, dtype=np.int64)

    def _round(self, values: FloatArray) -> IntArray:
        return np.clip(np.floor(values + 0.5).astype(np.int64), 0, self._upper)
