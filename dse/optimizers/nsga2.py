"""NSGA-II over integer genes in ask/tell form (Deb et al. 2002, doi:10.1109/4235.996017).

Simulated binary crossover and polynomial mutation are pymoo's; selection, survival and rounding
are ours, since their ties must not depend on the CPU. Between generations the state is the
population alone: random numbers are derived from (seed, generation).
"""

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from pymoo.operators.crossover.sbx import cross_sbx
from pymoo.operators.mutation.pm import mut_pm

from dse.errors import SpecError
from dse.pareto import crowding_by_rank, ranks, survivors
from dse.ports import FloatArray, IntArray
from dse.randomness import generator

_ATTEMPTS = 50


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
        self._eta = eta
        self._crossover_rate = crossover_rate
        n_genes = len(self._upper)
        self._first = np.zeros((0, n_genes), dtype=np.int64) if first is None else first
        self._genomes = np.zeros((0, n_genes), dtype=np.int64)
        self._objectives: FloatArray = np.zeros((0, 0))
        self._violations: FloatArray = np.zeros(0)
        self._seen: set[bytes] = set()
        self.generation = 0

    def ask(self) -> IntArray:
        """Return this generation's genomes, all of them new to this search: (n, n_genes).

        Fewer than asked for, at last none, when the space is exhausted. Asking again before
        `tell` gives the same answer.
        """
        rng = generator(self._seed, "nsga2.ask", self.generation)
        if self.generation == 0:
            batch = _Batch(max(self._population, len(self._first)), self._seen)
            batch.take(self._first)
        else:
            batch = _Batch(self._offspring, self._seen)
            for _ in range(_ATTEMPTS):
                if batch.missing:
                    batch.take(self._mate(batch.missing, rng))
        for _ in range(_ATTEMPTS):
            if batch.missing:
                shape = (max(batch.missing, 8), len(self._upper))
                batch.take(rng.integers(0, self._upper + 1, size=shape))
        return batch.genomes(len(self._upper))

    def tell(self, genomes: IntArray, objectives: FloatArray, violations: FloatArray) -> None:
        """Take in what was asked for and choose the next population.

        Args:
            genomes: (n, n_genes) as `ask` gave them.
            objectives: (n, n_objectives), minimised, finite (any value where infeasible).
            violations: (n,), 0 for feasible designs.
        """
        if not (np.isfinite(objectives).all() and np.isfinite(violations).all()):
            raise ValueError("objectives and violations must be finite")
        self._seen.update(row.tobytes() for row in genomes)
        if len(self._genomes):
            genomes = np.concatenate([self._genomes, genomes])
            objectives = np.concatenate([self._objectives, objectives])
            violations = np.concatenate([self._violations, violations])
        chosen = survivors(objectives, violations, self._population)
        self._genomes = genomes[chosen]
        self._objectives = objectives[chosen]
        self._violations = violations[chosen]
        self.generation += 1

    def state(self) -> dict[str, object]:
        """Return the population as JSON data; with the genomes seen it is the whole state."""
        return {
            "algorithm": "nsga2",
            "generation": self.generation,
            "genomes": self._genomes.tolist(),
            "objectives": self._objectives.tolist(),
            "violations": self._violations.tolist(),
        }

    def restore(self, state: Mapping[str, Any], seen: IntArray) -> None:
        """Continue from `state`; `seen` (n, n_genes) are all genomes told so far."""
        if state["algorithm"] != "nsga2":
            raise SpecError(f"the stored state is of {state['algorithm']!r}, not of 'nsga2'")
        self.generation = int(state["generation"])
        self._genomes = np.asarray(state["genomes"], dtype=np.int64)
        self._objectives = np.asarray(state["objectives"], dtype=np.float64)
        self._violations = np.asarray(state["violations"], dtype=np.float64)
        self._seen = {row.tobytes() for row in np.ascontiguousarray(seen, dtype=np.int64)}

    def _mate(self, count: int, rng: np.random.Generator) -> IntArray:
        pairs = (count + 1) // 2
        parents = self._genomes[self._tournament(2 * pairs, rng)].reshape(2, pairs, -1)
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

    def _tournament(self, count: int, rng: np.random.Generator) -> IntArray:
        rank = ranks(self._objectives, self._violations)
        distance = crowding_by_rank(self._objectives, self._violations, rank)
        place = np.empty(len(rank), dtype=np.int64)
        place[np.lexsort((np.arange(len(rank)), -distance, rank))] = np.arange(len(rank))
        entrants = rng.integers(0, len(rank), size=(count, 2))
        winners = np.where(place[entrants[:, 0]] <= place[entrants[:, 1]], *entrants.T)
        return np.asarray(winners, dtype=np.int64)

    def _round(self, values: FloatArray) -> IntArray:
        return np.clip(np.floor(values + 0.5).astype(np.int64), 0, self._upper)


@final
class _Batch:
    """Genomes of one generation, without repeats of each other or of earlier ones."""

    def __init__(self, size: int, seen: set[bytes]) -> None:
        self._size = size
        self._seen = seen
        self._rows: dict[bytes, IntArray] = {}

    @property
    def missing(self) -> int:
        return self._size - len(self._rows)

    def take(self, genomes: IntArray) -> None:
        for row in np.ascontiguousarray(genomes, dtype=np.int64):
            if self.missing and (key := row.tobytes()) not in self._seen:
                self._rows.setdefault(key, row)

    def genomes(self, n_genes: int) -> IntArray:
        rows = list(self._rows.values())
        return np.stack(rows) if rows else np.zeros((0, n_genes), dtype=np.int64)
