import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dse.errors import SpecError
from dse.optimizers.nsga2 import Nsga2
from dse.pareto import hypervolume, non_dominated
from dse.ports import FloatArray, IntArray

GENES = (4,) * 10


def optimizer(**changes: Any) -> Nsga2:  # the constructor's own keywords
    settings = {"population": 20, "offspring": 10, "seed": 1, **changes}
    return Nsga2(GENES, **settings)


def trade_off(genomes: IntArray) -> tuple[FloatArray, FloatArray]:
    weights = np.arange(1.0, genomes.shape[1] + 1)
    cost = genomes @ weights
    loss = (3 - genomes) ** 2 @ weights[::-1]
    return np.stack([loss, cost], axis=1).astype(float), np.zeros(len(genomes))


def run(
    search: Nsga2, generations: int, problem: Callable[..., Any] = trade_off
) -> list[IntArray]:
    asked = []
    while search.generation < generations:
        asked.append(search.ask())
        search.tell(asked[-1], *problem(asked[-1]))
    return asked


def test_first_generation_opens_with_the_given_genomes() -> None:
    first = np.random.default_rng(0).integers(0, 4, size=(5, 10))

    asked = optimizer(first=first).ask()

    assert len(asked) == 20
    assert (asked[:5] == first).all()


def test_more_first_genomes_than_the_population_are_all_asked_for() -> None:
    first = np.random.default_rng(0).integers(0, 4, size=(30, 10))

    assert len(optimizer(first=first).ask()) == 30


def test_asking_twice_gives_the_same_answer() -> None:
    search = optimizer()
    assert (search.ask() == search.ask()).all()
    run(search, 3)
    assert (search.ask() == search.ask()).all()


def test_every_genome_is_new_and_within_its_choices() -> None:
    asked = np.concatenate(run(optimizer(), 40))

    assert len(np.unique(asked, axis=0)) == len(asked) == 20 + 39 * 10
    assert asked.min() >= 0
    assert (asked.max(axis=0) == 3).all()


@pytest.mark.parametrize("at", range(1, 12))
def test_a_restored_search_goes_on_as_the_undisturbed_one(at: int) -> None:
    undisturbed = run(optimizer(), 12)
    search = optimizer()
    asked = run(search, at)
    state = json.loads(json.dumps(search.state()))

    resumed = optimizer()
    resumed.restore(state, np.concatenate(asked), list)

    assert [a.tolist() for a in run(resumed, 12)] == [a.tolist() for a in undisturbed[at:]]


def test_a_state_of_another_algorithm_is_refused() -> None:
    with pytest.raises(SpecError, match="'random', not of 'nsga2'"):
        optimizer().restore({"algorithm": "random"}, np.zeros((0, 10), np.int64), list)


def test_unseeded_and_global_generators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded = np.random.default_rng

    def only_seeded(seed: object = None) -> np.random.Generator:
        assert seed is not None, "somebody drew unseeded random numbers"
        return seeded(seed)  # type: ignore[arg-type]

    monkeypatch.setattr(np.random, "default_rng", only_seeded)
    before = np.random.get_state(legacy=True)[1].tolist(), random.getstate()  # type: ignore[index]

    run(optimizer(), 20)

    after = np.random.get_state(legacy=True)[1].tolist(), random.getstate()  # type: ignore[index]
    assert before == after


def test_beats_random_search_at_equal_numbers_of_designs() -> None:
    found = np.concatenate(run(optimizer(), 30))
    drawn = np.random.default_rng(5).integers(0, 4, size=found.shape)
    reference = np.array([200.0, 100.0])

    ours, theirs = (hypervolume(trade_off(g)[0], reference) for g in (found, drawn))

    assert ours > 1.25 * theirs


def test_survivors_are_the_population_best_first() -> None:
    search = optimizer()
    run(search, 5)

    state: Any = search.state()  # JSON data
    assert search.survivors().tolist() == state["genomes"]
    assert len(search.survivors()) == 20


def test_revised_figures_decide_the_next_survival() -> None:
    search = optimizer()
    run(search, 3)
    worst, asked = search.survivors()[-1:], search.ask()

    search.revise(worst, np.full((1, 2), -1.0), np.zeros(1))
    search.tell(asked, *trade_off(asked))

    assert search.survivors()[0].tolist() == worst[0].tolist()


def test_a_design_that_did_not_survive_comes_back_with_better_figures() -> None:
    search = optimizer()
    first = search.ask()
    run(search, 6)
    survived = {tuple(genome) for genome in search.survivors().tolist()}
    gone = np.asarray([g for g in first.tolist() if tuple(g) not in survived][:1])
    asked = search.ask()

    search.revise(gone, np.full((1, 2), -1.0), np.zeros(1))
    search.tell(asked, *trade_off(asked))

    assert search.survivors()[0].tolist() == gone[0].tolist()
    assert len(search.survivors()) == 20


def test_infeasible_designs_give_way_to_feasible_ones() -> None:
    def halved(genomes: IntArray) -> tuple[FloatArray, FloatArray]:
        objectives, _ = trade_off(genomes)
        return objectives, np.maximum(0.0, genomes.sum(axis=1) - 8.0)

    search = optimizer()
    run(search, 25, halved)

    state: Any = search.state()  # JSON data
    assert set(state["violations"]) == {0.0}


def test_a_space_smaller_than_the_population_is_asked_out() -> None:
    search = Nsga2((2, 2, 2), population=20, offspring=10, seed=0)

    first = search.ask()
    search.tell(first, *trade_off(first))

    assert len(first) == 8
    assert search.ask().shape == (0, 3)


def test_a_front_of_one_gene_is_found_whole() -> None:
    search = Nsga2((4,), population=4, offspring=2, seed=0)
    asked = np.concatenate([a for a in run(search, 2) if len(a)])

    assert non_dominated(trade_off(asked)[0]).sum() == 4


def test_nan_is_never_taken() -> None:
    search = optimizer()
    genomes = search.ask()

    with pytest.raises(ValueError, match="finite"):
        search.tell(genomes, np.full((20, 2), np.nan), np.zeros(20))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(SpecError, match="population must be at least 2.*got 1 and 3"):
        Nsga2((2,), population=1, offspring=3, seed=0)
