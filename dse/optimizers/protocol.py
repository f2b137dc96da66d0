"""What the generation loop needs of a search algorithm."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from dse.ports import FloatArray, IntArray


class Optimizer(Protocol):
    """Ask for genomes, tell their objectives, generation by generation.

    `ask` and what follows from it are functions of the seed and of everything told: nothing else
    is carried from one generation to the next, so that a resumed search asks what the undisturbed
    one asked.

    Attributes:
        generation: the one that `ask` is for, 0-based; `tell` ends it.
    """

    @property
    def generation(self) -> int: ...

    def ask(self) -> IntArray:
        """Return this generation's genomes, all of designs new to this search: (n, n_genes).

        Fewer than asked for, at last none, when the space is exhausted. Asking again before
        `tell` gives the same answer.
        """

    def survivors(self) -> IntArray:
        """Return the genomes told before from which the next ones will be bred: (n, n_genes).
        An algorithm that learns from all of them returns those it would rank first."""

    def revise(self, genomes: IntArray, objectives: FloatArray, violations: FloatArray) -> None:
        """Take in better figures of genomes told before; called before `tell` of a generation.
        Arguments as of `tell`."""

    def tell(self, genomes: IntArray, objectives: FloatArray, violations: FloatArray) -> None:
        """Take in what was asked for.

        Args:
            genomes: (n, n_genes) as `ask` gave them.
            objectives: (n, n_objectives), minimised, finite; 0 where an infeasible design was
                not measured.
            violations: (n,), 0 for feasible designs.
        """

    def state(self) -> dict[str, object]:
        """Return JSON data to be stored after `tell`; with the states before it and the genomes
        seen it is the whole state. "algorithm" and "generation" are among its keys."""

    def restore(
        self,
        state: Mapping[str, Any],
        seen: IntArray,
        states: Callable[[], Sequence[Mapping[str, Any]]],
    ) -> None:
        """Continue after a stored generation.

        Args:
            state: of the last finished generation.
            seen: all genomes told so far, in order: (n, n_genes).
            states: gives the states after each finished generation, in order, `state` the last.

        Raises:
            SpecError: the state is another algorithm's.
        """
