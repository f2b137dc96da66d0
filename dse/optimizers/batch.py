"""The genomes of one generation, all of them new to the search."""

from collections.abc import Callable, Container
from typing import final

import numpy as np

from dse.ports import BoolArray, IntArray
from dse.randomness import generator

ATTEMPTS = 50

Canonical = Callable[[IntArray], IntArray]
"""Gives for each genome (n, n_genes) the one that stands for all with the same design."""


Idle = Callable[[IntArray], BoolArray]
"""Tells for each gene of genomes (n, n_genes) whether it has no effect on the design."""


def none_idle(genomes: IntArray) -> BoolArray:
    """Tell of a space in which every gene has an effect in every design."""
    return np.zeros(genomes.shape, dtype=np.bool_)


def unchanged(genomes: IntArray) -> IntArray:
    """Be the canonical form of genomes that are all of different designs."""
    return genomes


@final
class Batch:
    """Genomes of one generation, all of designs that neither it nor an earlier one holds.

    Args:
        size: how many are wanted.
        upper: the last choice of each gene, counted from 0: (n_genes,).
        seen: bytes of the genomes told before, canonical all of them.
    """

    def __init__(
        self, size: int, upper: IntArray, seen: Container[bytes], canonical: Canonical
    ) -> None:
        self._size = size
        self._upper = upper
        self._seen = seen
        self._canonical = canonical
        self._rows: dict[bytes, IntArray] = {}

    @property
    def missing(self) -> int:
        return self._size - len(self._rows)

    def take(self, genomes: IntArray) -> None:
        """Keep the genomes (n, n_genes) that are new, in order, while there is room."""
        for row in np.ascontiguousarray(self._canonical(genomes), dtype=np.int64):
            if self.missing and (key := row.tobytes()) not in self._seen:
                self._rows.setdefault(key, row)

    def fill(self, rng: np.random.Generator) -> None:
        """Draw what is missing uniformly; less when the space seems exhausted."""
        for _ in range(ATTEMPTS):
            if self.missing:
                shape = (max(self.missing, 8), len(self._upper))
                self.take(rng.integers(0, self._upper + 1, size=shape))

    def genomes(self) -> IntArray:
        """Return what was kept: (n, n_genes)."""
        rows = list(self._rows.values())
        return np.stack(rows) if rows else no_genomes(len(self._upper))


def no_genomes(n_genes: int) -> IntArray:
    return np.zeros((0, n_genes), dtype=np.int64)


def opening(
    upper: IntArray, *, size: int, seed: int, first: IntArray, canonical: Canonical
) -> IntArray:
    """Return the genomes of generation 0: `first`, all of them, and random ones up to `size`.

    Every algorithm opens with the same designs at one seed, so that comparisons are paired.
    """
    batch = Batch(max(size, len(first)), upper, frozenset(), canonical)
    batch.take(first)
    batch.fill(generator(seed, "nsga2.ask", 0))
    return batch.genomes()
