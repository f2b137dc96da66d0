"""Optuna's samplers behind our protocol: that they learn, and from what."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from dse.optimizers.optuna import Optuna, nsga2_generations, plausible, quiet
from dse.optimizers.protocol import Optimizer
from dse.optimizers.random import Random
from dse.optimizers.rows import Rows
from dse.pareto import hypervolume
from dse.ports import FloatArray, IntArray

optuna = pytest.importorskip("optuna")

GENES = (4,) * 6
Told = tuple[FloatArray, FloatArray]
Problem = Callable[[IntArray], Told]

SLOW_GP = pytest.param("optuna-gp", marks=pytest.mark.slow)


def search(algorithm: str, seed: int = 1, population: int = 16, offspring: int = 4) -> Optuna:
    return Optuna(algorithm, GENES, population=population, offspring=offspring, seed=seed)


def trade_off(genomes: IntArray) -> Told:
    weights = np.arange(1.0, genomes.shape[1] + 1)
    cost = genomes @ weights
    loss = (3 - genomes) ** 2 @ weights[::-1]
    return np.stack([loss, cost], axis=1).astype(float), np.zeros(len(genomes))


def screened(genomes: IntArray) -> Told:
    """Three designs of four are too costly, not measured, and stand at 0."""
    objectives, _ = trade_off(genomes)
    # no two violations are equal, so that nothing but themselves decides their order
    place = genomes @ 4.0 ** np.arange(genomes.shape[1])
    excess = np.maximum(0.0, objectives[:, 1] / 24.0 - 1.0)
    violations = np.where(excess > 0, excess + 1e-6 * place, 0.0)
    objectives[violations > 0, 0] = 0.0
    return objectives, violations


def run(algorithm: Optimizer, generations: int, problem: Problem) -> list[IntArray]:
    asked = []
    while algorithm.generation < generations:
        asked.append(algorithm.ask())
        algorithm.tell(asked[-1], *problem(asked[-1]))
    return asked


def volume(asked: Sequence[IntArray]) -> float:
    objectives, _ = trade_off(np.concatenate(asked))
    return hypervolume(objectives, np.asarray([120.0, 60.0]))


@pytest.mark.parametrize(
    ("algorithm", "generations", "seeds"),
    [
        ("optuna-nsga2", 20, 2),
        pytest.param("optuna-tpe", 12, 3, marks=pytest.mark.slow),
        pytest.param("optuna-gp", 3, 1, marks=pytest.mark.slow),
    ],
)
def test_finds_more_than_random_search(algorithm: str, generations: int, seeds: int) -> None:
    ours, theirs = [], []
    for seed in range(seeds):
        ours.append(volume(run(search(algorithm, seed), generations, trade_off)))
        other = Random(GENES, population=16, offspring=4, seed=seed)
        theirs.append(volume(run(other, generations, trade_off)))

    assert sum(ours) > 1.05 * sum(theirs)


@pytest.mark.parametrize("algorithm", ["optuna-nsga2", "optuna-tpe"])
def test_objectives_of_infeasible_designs_are_not_looked_at(algorithm: str) -> None:
    def brilliant(genomes: IntArray) -> Told:
        objectives, violations = screened(genomes)
        return np.where(violations[:, None] > 0, -1000.0 - objectives, objectives), violations

    told = run(search(algorithm), 6, screened)
    lied_to = run(search(algorithm), 6, brilliant)

    assert [a.tolist() for a in lied_to] == [a.tolist() for a in told]


@pytest.mark.slow
def test_gaussian_process_is_not_drawn_to_designs_that_were_not_measured() -> None:
    asked = run(search("optuna-gp"), 4, screened)

    _, of_first = screened(asked[0])
    _, of_others = screened(np.concatenate(asked[1:]))
    assert (of_first > 0).mean() > 0.5
    assert (of_others > 0).mean() < 0.2


def test_what_was_not_measured_is_told_as_the_worst_known_value() -> None:
    genomes = np.arange(8).reshape(4, 2)
    objectives = np.asarray([[3.0, -2.0], [0.0, -9.0], [7.0, 0.0], [0.0, -1.0]])

    values = plausible(Rows(genomes, objectives, np.asarray([0.0, 0.2, 0.5, 0.0])))

    # the last row is feasible: its 0 was measured
    assert values.tolist() == [[3.0, -2.0], [7.0, -9.0], [7.0, -1.0], [0.0, -1.0]]


def test_where_nothing_was_measured_zeros_stay() -> None:
    rows = Rows(np.zeros((2, 1), np.int64), np.zeros((2, 1)), np.ones(2))

    assert plausible(rows).tolist() == [[0.0], [0.0]]


@pytest.mark.parametrize("sizes", [[16, 4, 4, 4, 4, 4], [20, 11, 11, 11, 11], [3, 3, 3]])
def test_generations_are_counted_as_optuna_counts_them(sizes: list[int]) -> None:
    sampler = optuna.samplers.NSGAIISampler(population_size=16, seed=0)
    with quiet():
        study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    gene = {"x": optuna.distributions.IntDistribution(0, 3)}
    for size in sizes:
        for trial in [study.ask(gene) for _ in range(size)]:
            study.tell(trial, [1.0, 2.0])

    counted = [trial.system_attrs["NSGAIISampler:generation"] for trial in study.trials]
    assert nsga2_generations(sizes, 16) == counted


@pytest.mark.parametrize("algorithm", ["optuna-nsga2", "optuna-tpe", SLOW_GP])
@pytest.mark.parametrize("violation", [0.0, 1.0])
def test_one_objective_and_all_or_none_feasible_are_searched_too(
    algorithm: str, violation: float
) -> None:
    def single(genomes: IntArray) -> Told:
        objectives, _ = trade_off(genomes)
        return objectives[:, :1], np.full(len(genomes), violation)

    asked = run(search(algorithm, population=6, offspring=2), 3, single)

    assert [len(genomes) for genomes in asked] == [6, 2, 2]


def test_optuna_says_nothing_and_keeps_the_verbosity_it_had(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = optuna.logging.get_verbosity()

    run(search("optuna-tpe", population=4, offspring=1), 3, trade_off)

    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before
