"""Uniform random search, the least that any algorithm must beat."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

from dse.optimizers.batch import Batch, Canonical, no_genomes, opening, unchanged
from dse.optimizers.rows import Rows, refuse_foreign
from dse.optimizers.told import Told
from dse.ports import FloatArray, IntArray
from dse.randomness import generator


@final
class Random:
    """Ask for uniformly drawn genomes, each of them once.

    Args:
        cardinalities: number of choices of each gene.
        population: designs that the first generation asks for, and that `survivors` names.
        offspring: designs asked for in every other generation.
        seed: seed of the whole search.
        first: genomes (n, n_genes) that open the first generation.
        canonical: of genomes with one design, which is asked for.
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
    ) -> None:
        self._upper = np.asarray(cardinalities, dtype=np.int64) - 1
        self._population = population
        self._offspring = offspring
        self._seed = seed
        self._canonical = canonical
        self._first = no_genomes(len(self._upper)) if first is None else first
        self._told = Told("random", len(self._upper))

    @property
    def generation(self) -> int:
        return self._told.generation

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
        batch = Batch(self._offspring, self._upper, self._told, self._canonical)
        batch.fill(generator(self._seed, "random.ask", self.generation))
        return batch.genomes()

    def survivors(self) -> IntArray:
        """Return the best of all genomes told, at most `population`: (n, n_genes)."""
        return self._told.rows().best(self._population).genomes

    def revise(self, genomes: IntArray, objectives: FloatArray, violations: FloatArray) -> None:
        """Replace the figures of genomes told before; others are ignored."""
        self._told.revise(Rows(genomes, objectives, violations))

    def tell(self, genomes: IntArray, objectives: FloatArray, violations: FloatArray) -> None:
        """Take in what was asked for."""
        self._told.add(Rows(genomes, objectives, violations))

    def state(self) -> dict[str, object]:
        """Return the last generation's rows as JSON data."""
        return self._told.state()

    def restore(
        self,
        state: Mapping[str, Any],
        seen: IntArray,
        states: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> None:
        """Continue after a stored generation by replaying all of them."""
        refuse_foreign(state, "random")
        self._told = Told.replayed("random", len(self._upper), states())
