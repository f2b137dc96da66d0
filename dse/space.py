"""The search space: knobs x layers on one side, an integer genome on the other."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dse.design import Design
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.ports import IntArray

Target = tuple[str, str]
"""(knob, layer)"""


@dataclass(frozen=True, slots=True)
class Gene:
    """One number of a genome: an index into `choices`, applied to every target alike.

    Attributes:
        choices: values, ascending, at least two.
        targets: the (knob, layer) pairs that take the chosen value.
    """

    name: str
    choices: tuple[int, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True)
class SearchSpace:
    """All designs of a job.

    Attributes:
        layers: layer names in order of execution.
        knobs: every knob that a design of this space states.
        genes: what is searched.
        fixed: (knob, layer) -> value for everything else.
    """

    layers: tuple[str, ...]
    knobs: tuple[str, ...]
    genes: tuple[Gene, ...]
    fixed: Mapping[Target, int]

    @property
    def size(self) -> int:
        """Number of designs."""
        return math.prod(len(gene.choices) for gene in self.genes)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        return tuple(len(gene.choices) for gene in self.genes)

    @cached_property
    def allowed(self) -> Mapping[Target, tuple[int, ...]]:
        """(knob, layer) -> the values it may take in this space."""
        free = {target: gene.choices for gene in self.genes for target in gene.targets}
        return {**{target: (value,) for target, value in self.fixed.items()}, **free}

    def decode(self, genome: Sequence[int] | IntArray) -> Design:
        """Return the design of a genome (n_genes,)."""
        values = dict(self.fixed)
        for gene, index in zip(self.genes, genome, strict=True):
            for target in gene.targets:
                values[target] = gene.choices[int(index)]
        return self._design(values)

    def encode(self, design: Design) -> tuple[int, ...] | None:
        """Return the genome of a design, or None if the space does not contain it."""
        for (knob, layer), choices in self.allowed.items():
            if design.value(knob, layer) not in choices:
                return None
        genome = []
        for gene in self.genes:
            values = {design.value(knob, layer) for knob, layer in gene.targets}
            if len(values) != 1:
                return None
            genome.append(gene.choices.index(values.pop()))
        return tuple(genome)

    def repair(self, design: Design) -> Design:
        """Return the nearest design of the space: a value that is not allowed becomes the next
        higher allowed one, or else the highest; tied targets follow their highest."""
        values = dict(self.fixed)
        for gene in self.genes:
            wanted = max(design.value(knob, layer) for knob, layer in gene.targets)
            value = next((c for c in gene.choices if c >= wanted), gene.choices[-1])
            values.update(dict.fromkeys(gene.targets, value))
        return self._design(values)

    def knob_indices(self, designs: Sequence[Design]) -> dict[str, IntArray]:
        """Return knob -> indices (n_designs, n_layers) into `KNOBS[knob].choices`, the form in
        which cost models read designs. The designs need not belong to the space."""
        return knob_indices(designs, self.knobs, self.layers)

    def _design(self, values: Mapping[Target, int]) -> Design:
        return Design(
            {knob: {layer: values[knob, layer] for layer in self.layers} for knob in self.knobs}
        )


def knob_indices(
    designs: Sequence[Design], knobs: Iterable[str], layers: Sequence[str]
) -> dict[str, IntArray]:
    """As `SearchSpace.knob_indices`, for designs of no particular space."""
    result = {}
    for knob in knobs:
        position = {value: i for i, value in enumerate(KNOBS[knob].choices)}
        rows = []
        for design in designs:
            chosen = design.choices[knob]
            wrong = [layer for layer in layers if chosen[layer] not in position]
            if wrong:
                raise SpecError(
                    f"{knob}@{wrong[0]} must be one of {KNOBS[knob].choices}, "
                    f"got {chosen[wrong[0]]}"
                )
            rows.append([position[chosen[layer]] for layer in layers])
        result[knob] = np.asarray(rows, dtype=np.int64).reshape(len(rows), len(layers))
    return result
