"""Everything an algorithm was told, for those that learn from all of it."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, final

import numpy as np

from dse.optimizers.rows import Rows, refuse_foreign


@final
class Told:
    """The rows of every generation, in order, and how they are stored and replayed.

    A state holds one generation's rows and the revisions that came before them, so that states
    do not grow; the states of all generations together give everything back.

    Args:
        algorithm: whose states these are.
        n_genes: length of a genome.
    """

    def __init__(self, algorithm: str, n_genes: int) -> None:
        self._algorithm = algorithm
        self._n_genes = n_genes
        self._generations: list[Rows] = []
        self._seen: set[bytes] = set()
        self._pending = Rows.none(n_genes)
        self._applied = Rows.none(n_genes)

    @classmethod
    def replayed(cls, algorithm: str, n_genes: int, states: Sequence[Mapping[str, Any]]) -> Self:
        """Return what the states of all generations, in order, tell.

        Raises:
            SpecError: a state is another algorithm's.
        """
        told = cls(algorithm, n_genes)
        for state in states:
            refuse_foreign(state, algorithm)
            if "revised" in state:
                told.revise(Rows.of_json(state["revised"], n_genes))
            told.add(Rows.of_json(state, n_genes))
        return told

    def __contains__(self, genome: object) -> bool:
        """Tell whether a genome, as bytes, was told."""
        return genome in self._seen

    @property
    def generation(self) -> int:
        """Number of generations told."""
        return len(self._generations)

    @property
    def sizes(self) -> list[int]:
        """Number of rows of each generation."""
        return [len(rows.genomes) for rows in self._generations]

    def rows(self) -> Rows:
        """Return all rows, as the last revision left them."""
        if not self._generations:
            return Rows.none(self._n_genes)
        return Rows(
            np.concatenate([rows.genomes for rows in self._generations]),
            np.concatenate([rows.objectives for rows in self._generations]),
            np.concatenate([rows.violations for rows in self._generations]),
        )

    def revise(self, better: Rows) -> None:
        """Replace the figures of rows told before; others are ignored."""
        known = np.asarray([key in self._seen for key in better.keys()], dtype=np.bool_)
        if not known.any():
            return
        better = better.picked(np.flatnonzero(known))
        self._generations = [rows.revised(better) for rows in self._generations]
        self._pending = self._pending.joined(better)

    def add(self, rows: Rows) -> None:
        """End a generation with its rows."""
        self._generations.append(rows)
        self._seen.update(rows.keys())
        self._applied, self._pending = self._pending, Rows.none(self._n_genes)

    def state(self) -> dict[str, object]:
        """Return the last generation as JSON data."""
        last = self._generations[-1] if self._generations else Rows.none(self._n_genes)
        state: dict[str, object] = {
            "algorithm": self._algorithm,
            "generation": self.generation,
            **last.as_json(),
        }
        if len(self._applied.genomes):
            state["revised"] = self._applied.as_json()
        return state
