"""From the search's settings to its algorithm."""

from collections.abc import Sequence
from importlib.util import find_spec

from dse.errors import SpecError
from dse.optimizers.batch import Canonical, Idle, none_idle, unchanged
from dse.optimizers.nsga2 import Nsga2
from dse.optimizers.optuna import Optuna
from dse.optimizers.protocol import Optimizer
from dse.optimizers.random import Random
from dse.ports import IntArray
from dse.spec import Search

_PACKAGES = {
    "optuna-tpe": ("optuna",),
    "optuna-nsga2": ("optuna",),
    "optuna-gp": ("optuna", "scipy"),
}


def check_available(algorithm: str) -> None:
    """Raise SpecError if packages that the algorithm needs are not installed."""
    missing = [name for name in _PACKAGES.get(algorithm, ()) if find_spec(name) is None]
    if missing:
        raise SpecError(
            f"search.algorithm {algorithm!r} needs {' and '.join(missing)}, not installed here: "
            "pip install 'beacon-dse[optuna]'; allowed without: 'nsga2', 'random'"
        )


def make_optimizer(
    settings: Search,
    cardinalities: Sequence[int],
    first: IntArray | None = None,
    canonical: Canonical = unchanged,
    idle: Idle = none_idle,
) -> Optimizer:
    """Return the algorithm that the settings name, before its first generation.

    Args:
        settings: algorithm, population, offspring and seed are looked at.
        cardinalities: number of choices of each gene.
        first: genomes (n, n_genes) that open the first generation.
        canonical: of genomes with one design, which is asked for.
        idle: which genes of a genome have no effect; `nsga2` alone asks.

    Raises:
        SpecError: its packages are not installed.
    """
    check_available(settings.algorithm)
    if settings.algorithm == "nsga2":
        return Nsga2(
            cardinalities,
            population=settings.population,
            offspring=settings.offspring,
            seed=settings.seed,
            first=first,
            canonical=canonical,
            idle=idle,
        )
    if settings.algorithm == "random":
        return Random(
            cardinalities,
            population=settings.population,
            offspring=settings.offspring,
            seed=settings.seed,
            first=first,
            canonical=canonical,
        )
    return Optuna(
        settings.algorithm,
        cardinalities,
        population=settings.population,
        offspring=settings.offspring,
        seed=settings.seed,
        first=first,
        canonical=canonical,
    )
