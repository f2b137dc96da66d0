"""Designs with their figures, as algorithms keep and store them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from dse.errors import SpecError
from dse.optimizers.batch import no_genomes
from dse.pareto import survivors
from dse.ports import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Rows:
    """Designs with their figures.

    Attributes:
        genomes: (n, n_genes).
        objectives: (n, n_objectives), minimised.
        violations: (n,), 0 for feasible designs.
    """

    genomes: IntArray
    objectives: FloatArray
    violations: FloatArray

    def __post_init__(self) -> None:
        if not (np.isfinite(self.objectives).all() and np.isfinite(self.violations).all()):
            raise ValueError("objectives and violations must be finite")

    @classmethod
    def none(cls, n_genes: int) -> Self:
        return cls(no_genomes(n_genes), np.zeros((0, 0)), np.zeros(0))

    @classmethod
    def of_json(cls, data: Mapping[str, Any], n_genes: int) -> Self:
        """Read what `as_json` wrote."""
        genomes = np.asarray(data["genomes"], dtype=np.int64).reshape(-1, n_genes)
        objectives = np.asarray(data["objectives"], dtype=np.float64)
        return cls(
            genomes,
            objectives if objectives.size else np.zeros((len(genomes), 0)),
            np.asarray(data["violations"], dtype=np.float64),
        )

    def as_json(self) -> dict[str, object]:
        return {
            "genomes": self.genomes.tolist(),
            "objectives": self.objectives.tolist(),
            "violations": self.violations.tolist(),
        }

    def keys(self) -> list[bytes]:
        """Return the genomes as bytes, fit for sets."""
        return [row.tobytes() for row in np.ascontiguousarray(self.genomes, dtype=np.int64)]

    def joined(self, other: "Rows") -> "Rows":
        if not len(self.genomes):
            return other
        return Rows(
            np.concatenate([self.genomes, other.genomes]),
            np.concatenate([self.objectives, other.objectives]),
            np.concatenate([self.violations, other.violations]),
        )

    def picked(self, which: IntArray) -> "Rows":
        return Rows(self.genomes[which], self.objectives[which], self.violations[which])

    def with_revised(self, better: "Rows") -> "Rows":
        """Return these rows with the figures in `better`, and behind them its other rows."""
        known = set(self.keys())
        new = [i for i, key in enumerate(better.keys()) if key not in known]
        others = better.picked(np.asarray(new, dtype=np.int64))
        return self.revised(better).joined(others)

    def revised(self, better: "Rows") -> "Rows":
        """Return these rows with the figures of those genomes that stand in `better` too."""
        places = {key: place for place, key in enumerate(self.keys())}
        pairs = [(places[k], i) for i, k in enumerate(better.keys()) if k in places]
        if not pairs:
            return self
        mine, theirs = np.asarray(pairs, dtype=np.int64).T
        objectives, violations = self.objectives.copy(), self.violations.copy()
        objectives[mine] = better.objectives[theirs]
        violations[mine] = better.violations[theirs]
        return Rows(self.genomes, objectives, violations)

    def best(self, size: int) -> "Rows":
        """Return the rows that rank first, at most `size`."""
        if not len(self.genomes):
            return self
        return self.picked(survivors(self.objectives, self.violations, size))


def refuse_foreign(state: Mapping[str, Any], algorithm: str) -> None:
    """Raise SpecError unless `state` is one of `algorithm`'s."""
    if state["algorithm"] != algorithm:
        raise SpecError(f"the stored state is of {state['algorithm']!r}, not of {algorithm!r}")
