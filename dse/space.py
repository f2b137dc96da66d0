"""The search space: knobs x layers on one side, an integer genome on the other."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dse.canonical import Canon
from dse.design import Design, Value
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.ports import BoolArray, IntArray

Target = tuple[str, str]
"""(knob, layer)"""


@dataclass(frozen=True, slots=True)
class Gene:
    """One number of a genome: an index into `choices`, applied to every target alike.

    Attributes:
        choices: values in the catalogue's order, at least two.
        targets: the (knob, layer) pairs that take the chosen value.
    """

    name: str
    choices: tuple[Value, ...]
    targets: tuple[Target, ...]

    @property
    def neutral(self) -> int:
        """Index of the neutral value, or 0 if it is none of the choices."""
        neutral = KNOBS[self.targets[0][0]].neutral
        return self.choices.index(neutral) if neutral in self.choices else 0


@dataclass(frozen=True)
class SearchSpace:
    """All designs of a job, each in its canonical form.

    Attributes:
        layers: layer names in order of execution.
        knobs: every knob that a design of this space states.
        genes: what is searched.
        fixed: (knob, layer) -> value for everything else.
        canon: which of its designs are the same.
    """

    layers: tuple[str, ...]
    knobs: tuple[str, ...]
    genes: tuple[Gene, ...]
    fixed: Mapping[Target, Value]
    canon: Canon = Canon()

    @property
    def size(self) -> int:
        """Number of genomes; at most so many designs."""
        return math.prod(len(gene.choices) for gene in self.genes)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        return tuple(len(gene.choices) for gene in self.genes)

    @cached_property
    def allowed(self) -> Mapping[Target, tuple[Value, ...]]:
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
        """Return the genome of a design, or None if the space does not contain it.

        Of several genomes with that design it is the one whose genes without effect are neutral.
        """
        at = self._at(design)
        for (knob, layer), value in self._settled(design).items():
            if not self._same(knob, layer, at[layer], value):
                return None
        genome = []
        for gene in self.genes:
            fitting = [
                index
                for index, choice in enumerate(gene.choices)
                if all(self._same(knob, layer, at[layer], choice) for knob, layer in gene.targets)
            ]
            if not fitting:
                return None
            genome.append(gene.neutral if gene.neutral in fitting else fitting[0])
        return tuple(genome)

    def canonical(self, genomes: IntArray) -> IntArray:
        """Return for each genome (n, n_genes) the one that `encode` gives its design."""
        if not self._ambiguous:
            return genomes
        rows = [self.encode(self.decode(genome)) for genome in genomes]
        return np.asarray(rows, dtype=np.int64).reshape(len(genomes), len(self.genes))

    def idle(self, genomes: IntArray) -> BoolArray:
        """Tell for each gene of genomes (n, n_genes) whether the design is the same wherever it
        stands; all such genes of a genome may change together."""
        found = np.zeros(genomes.shape, dtype=np.bool_)
        for row, genome in zip(found, genomes, strict=True) if self._ambiguous else ():
            at = self._at(self.decode(genome))
            for i, gene in enumerate(self.genes):
                if Canon.governed(gene.targets[0][0]):
                    row[i] = all(
                        self._same(knob, layer, at[layer], choice)
                        for knob, layer in gene.targets
                        for choice in gene.choices
                    )
        return found

    def repair(self, design: Design) -> Design:
        """Return the nearest design of the space: a value that is not allowed becomes the next
        higher allowed one, or else the highest; tied targets follow their highest. Words are
        higher the later the catalogue names them."""
        values = dict(self.fixed)
        for gene in self.genes:
            order = KNOBS[gene.targets[0][0]].choices.index
            wanted = max(order(design.value(knob, layer)) for knob, layer in gene.targets)
            value = next((c for c in gene.choices if order(c) >= wanted), gene.choices[-1])
            values.update(dict.fromkeys(gene.targets, value))
        return self._design(values)

    def knob_indices(self, designs: Sequence[Design]) -> dict[str, IntArray]:
        """Return knob -> indices (n_designs, n_layers) into `KNOBS[knob].choices`, the form in
        which cost models read designs. The designs need not belong to the space."""
        return knob_indices(designs, self.knobs, self.layers)

    @cached_property
    def _ambiguous(self) -> bool:
        return any(Canon.governed(knob) for gene in self.genes for knob, _ in gene.targets)

    def _settled(self, design: Design) -> Mapping[Target, Value]:
        others = {
            (knob, layer): KNOBS[knob].neutral
            for knob in design.choices
            if knob not in self.knobs
            for layer in self.layers
        }
        return {**others, **self.fixed}

    def _at(self, design: Design) -> dict[str, dict[str, Value]]:
        knobs = dict.fromkeys((*self.knobs, *design.choices))
        return {layer: {k: design.value(k, layer) for k in knobs} for layer in self.layers}

    def _same(self, knob: str, layer: str, at: Mapping[str, Value], value: Value) -> bool:
        """Tell whether a layer computes the same with `knob` at `value`."""
        if at[knob] == value or not Canon.governed(knob):
            return at[knob] == value
        other = self.canon.value(knob, layer, {**at, knob: value})
        return other == self.canon.value(knob, layer, at)

    def _design(self, values: Mapping[Target, Value]) -> Design:
        choices = {
            knob: {layer: values[knob, layer] for layer in self.layers} for knob in self.knobs
        }
        return self.canon.design(Design(choices))


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
