"""Optuna's samplers in ask/tell form: the one file that knows Optuna.

Genes are `IntDistribution`s: numbers are ordered, so the index of a choice says how far it is
from another; the few words that a knob may have are taken as ordered too. Optuna's samplers keep
random states and caches between trials, which a resumed search could not have; therefore every
`ask` makes its own study of all that was told and its own sampler, seeded from (seed, generation).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import numpy as np

from dse.optimizers.batch import Batch, Canonical, no_genomes, opening, unchanged
from dse.optimizers.rows import Rows, refuse_foreign
from dse.optimizers.told import Told
from dse.ports import FloatArray, IntArray
from dse.randomness import generator

_SUGGESTIONS = 4


@final
class Optuna:
    """Ask a sampler of Optuna for genomes.

    The samplers run with Optuna's own defaults; `population` is NSGA-II's population size and
    the number of start-up trials of the others.

    Args:
        algorithm: "optuna-tpe", "optuna-nsga2" or "optuna-gp".
        cardinalities: number of choices of each gene.
        population: designs that the first generation asks for.
        offspring: designs asked for in every other generation.
        seed: seed of the whole search.
        first: genomes (n, n_genes) that open the first generation.
        canonical: of genomes with one design, which is asked for.
    """

    def __init__(
        self,
        algorithm: str,
        cardinalities: Sequence[int],
        *,
        population: int,
        offspring: int,
        seed: int,
        first: IntArray | None = None,
        canonical: Canonical = unchanged,
    ) -> None:
        self._algorithm = algorithm
        self._upper = np.asarray(cardinalities, dtype=np.int64) - 1
        self._population = population
        self._offspring = offspring
        self._seed = seed
        self._canonical = canonical
        self._first = no_genomes(len(self._upper)) if first is None else first
        self._told = Told(algorithm, len(self._upper))

    @property
    def generation(self) -> int:
        return self._told.generation

    def ask(self) -> IntArray:
        """Return this generation's genomes, as the protocol says.

        The sampler may suggest what was asked before; what it does not fill in a bounded number
        of suggestions is drawn at random.
        """
        if self.generation == 0:
            return opening(
                self._upper,
                size=self._population,
                seed=self._seed,
                first=self._first,
                canonical=self._canonical,
            )
        rng = generator(self._seed, f"{self._algorithm}.ask", self.generation)
        batch = Batch(self._offspring, self._upper, self._told, self._canonical)
        with quiet(), _one_thread(self._algorithm):
            self._suggest(batch, seed=int(rng.integers(2**32)))
        batch.fill(rng)
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
        refuse_foreign(state, self._algorithm)
        self._told = Told.replayed(self._algorithm, len(self._upper), states())

    def _suggest(self, batch: Batch, *, seed: int) -> None:
        sampler = self._sampler(seed)
        genes = self._genes()
        study = self._study(sampler, genes)
        # A suggestion that is not new stays a running trial: TPE and GP keep away from those.
        for _ in range(_SUGGESTIONS * self._offspring):
            if batch.missing:
                trial = study.ask(genes)
                batch.take(np.asarray([[trial.params[name] for name in genes]]))

    def _sampler(self, seed: int) -> Any:  # Optuna is an extra: its types may not be there
        from optuna import samplers

        if self._algorithm == "optuna-nsga2":
            return samplers.NSGAIISampler(population_size=self._population, seed=seed)
        if self._algorithm == "optuna-tpe":
            return samplers.TPESampler(n_startup_trials=self._population, seed=seed)
        return samplers.GPSampler(n_startup_trials=self._population, seed=seed)

    def _genes(self) -> dict[str, Any]:
        from optuna.distributions import IntDistribution

        return {f"gene {i}": IntDistribution(0, n) for i, n in enumerate(self._upper.tolist())}

    def _study(self, sampler: Any, genes: dict[str, Any]) -> Any:
        import optuna

        rows = self._told.rows()
        n_objectives = rows.objectives.shape[1]
        study = optuna.create_study(directions=["minimize"] * n_objectives, sampler=sampler)
        generations = nsga2_generations(self._told.sizes, self._population)
        # GP would model a constraint that nothing ever broke, at a third of its time
        constrained = bool((rows.violations > 0).any())
        for genome, values, violation, number in zip(
            rows.genomes.tolist(),
            plausible(rows).tolist(),
            rows.violations.tolist(),
            generations,
            strict=True,
        ):
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(zip(genes, genome, strict=True)),
                    distributions=genes,
                    values=values,
                    constraints={"violation": violation} if constrained else None,
                    # where NSGAIISampler, had it been asked for this trial, notes its generation
                    system_attrs={"NSGAIISampler:generation": number},
                )
            )
        if self._algorithm == "optuna-nsga2":
            # each needs the one before it: asked for in order, they do not recurse
            for number in range(1, generations[-1] + 1):
                sampler.get_parent_population(study, number)
        return study


def nsga2_generations(sizes: Sequence[int], population: int) -> list[int]:
    """Return the generation of each row as `NSGAIISampler` counts them: a new one is begun when
    the last has at least `population` rows."""
    labels: list[int] = []
    number = filled = 0
    for size in sizes:
        if filled >= population:
            number, filled = number + 1, 0
        labels += [number] * size
        filled += size
    return labels


def plausible(rows: Rows) -> FloatArray:
    """Return the objectives, with the worst known value where a design was not measured (0).

    The samplers of TPE and NSGA-II do not look at an infeasible trial's values, but GP fits its
    models to all of them: a 0 there would promise the best error near designs that are too
    costly to be run.
    """
    values = rows.objectives.copy()
    unknown = (rows.violations > 0)[:, None] & (values == 0)
    for column, missing in zip(values.T, unknown.T, strict=True):
        column[missing] = column[~missing].max() if not missing.all() else 0.0
    return values


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna from logging, and numpy from warning of its 0 / 0 where one start of the
    search for the best design outdoes all others; both settings come back."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with np.errstate(invalid="ignore"):
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@contextmanager
def _one_thread(algorithm: str) -> Iterator[None]:
    if algorithm != "optuna-gp":
        yield
        return
    import torch

    # thousands of tiny products: with two threads on two busy cores they took five times as long
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
