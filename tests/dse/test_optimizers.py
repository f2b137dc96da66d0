"""What every search algorithm promises."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from dse.errors import SpecError
from dse.optimizers import making
from dse.optimizers.making import check_available, make_optimizer
from dse.optimizers.protocol import Optimizer
from dse.ports import FloatArray, IntArray
from dse.spec import Search

ALGORITHMS: tuple[str, ...] = get_args(Search.model_fields["algorithm"].annotation)
GENES = (4, 3, 5, 4, 2, 4)
Told = tuple[FloatArray, FloatArray]
State = dict[str, object]


def _marked(algorithm: str) -> Any:  # pytest's parameter sets are not public
    # a Gaussian process takes a second for each design
    return pytest.param(algorithm, marks=[pytest.mark.slow] if algorithm == "optuna-gp" else [])


every_algorithm = pytest.mark.parametrize("algorithm", [_marked(a) for a in ALGORITHMS])
# optuna's samplers differ in what they propose alone; the Gaussian process is the slow one
quick_algorithms = pytest.mark.parametrize(
    "algorithm", [a for a in ALGORITHMS if a != "optuna-gp"]
)


def optimizer(algorithm: str, genes: tuple[int, ...] = GENES, **changes: object) -> Optimizer:
    if algorithm.startswith("optuna"):
        pytest.importorskip("optuna")
    first = changes.pop("first", None)
    settings = {"population": 8, "offspring": 3, "seed": 1, **changes}
    search = Search.model_validate({"algorithm": algorithm, **settings})
    return make_optimizer(search, genes, first)  # type: ignore[arg-type]


def bounded(genomes: IntArray) -> Told:
    """Two objectives at odds; what is too costly was not measured and stands at 0."""
    cost = genomes.sum(axis=1).astype(np.float64)
    loss = ((4 - genomes) ** 2).sum(axis=1).astype(np.float64)
    violations = np.maximum(0.0, cost - 12.0)
    return np.stack([np.where(violations > 0, 0.0, loss), cost], axis=1), violations


def advance(
    search: Optimizer, generations: int, problem: Callable[[IntArray], Told] = bounded
) -> tuple[list[IntArray], list[State]]:
    """Run to generation `generations`, revising a survivor each time: what was asked, states."""
    asked, states = [], []
    while search.generation < generations:
        genomes = search.ask()
        better = search.survivors()[-1:]
        if len(better):
            objectives, _ = problem(better)
            search.revise(better, objectives - 0.5, np.zeros(1))
        search.tell(genomes, *problem(genomes))
        asked.append(genomes)
        states.append(json.loads(json.dumps(search.state())))
    return asked, states


@every_algorithm
def test_every_genome_is_new_and_within_its_choices(algorithm: str) -> None:
    asked, _ = advance(optimizer(algorithm), 4)

    rows = np.concatenate(asked)
    assert [len(genomes) for genomes in asked] == [8, 3, 3, 3]
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert rows.dtype == np.int64
    assert rows.min() >= 0
    assert (rows < np.asarray(GENES)).all()


@every_algorithm
def test_asking_twice_gives_the_same_answer(algorithm: str) -> None:
    search = optimizer(algorithm)
    assert (search.ask() == search.ask()).all()

    advance(search, 2)

    assert (search.ask() == search.ask()).all()


@pytest.mark.parametrize("at", [1, 3])
@every_algorithm
def test_a_restored_search_goes_on_as_the_undisturbed_one(algorithm: str, at: int) -> None:
    search = optimizer(algorithm)
    asked, states = advance(search, at)
    resumed = optimizer(algorithm)

    resumed.restore(states[-1], np.concatenate(asked), lambda: states)

    assert resumed.generation == at
    assert resumed.state() == states[-1]
    assert resumed.survivors().tolist() == search.survivors().tolist()
    later, later_states = advance(search, 4)
    again, states_again = advance(resumed, 4)
    assert [a.tolist() for a in again] == [a.tolist() for a in later]
    assert states_again == later_states


@quick_algorithms
def test_a_state_holds_one_generation_and_does_not_grow(algorithm: str) -> None:
    _, states = advance(optimizer(algorithm), 5)

    sizes = [len(json.dumps(state)) for state in states]
    assert max(sizes[1:]) <= 1.2 * sizes[0]
    assert [state["generation"] for state in states] == [1, 2, 3, 4, 5]
    assert {state["algorithm"] for state in states} == {algorithm}


@quick_algorithms
def test_a_space_smaller_than_the_search_is_asked_out(algorithm: str) -> None:
    search = optimizer(algorithm, (3, 4))

    asked, _ = advance(search, 3)

    assert len(np.unique(np.concatenate(asked), axis=0)) == 12
    assert search.ask().shape == (0, 2)


@quick_algorithms
def test_a_state_of_another_algorithm_is_refused(algorithm: str) -> None:
    with pytest.raises(SpecError, match=f"'magic', not of '{algorithm}'"):
        optimizer(algorithm).restore({"algorithm": "magic"}, np.zeros((0, 6), np.int64), list)


@quick_algorithms
def test_all_algorithms_open_with_the_same_designs_at_one_seed(algorithm: str) -> None:
    first = np.zeros((2, 6), dtype=np.int64) + [[0], [1]]

    asked = optimizer(algorithm, first=first).ask()

    assert asked.tolist() == optimizer("nsga2", first=first).ask().tolist()
    assert asked[:2].tolist() == first.tolist()


@quick_algorithms
def test_more_first_genomes_than_the_population_are_all_asked_for(algorithm: str) -> None:
    first = np.indices(GENES).reshape(6, -1).T[:11]

    assert optimizer(algorithm, first=first).ask().tolist() == first.tolist()


@quick_algorithms
def test_survivors_are_the_best_of_what_was_told(algorithm: str) -> None:
    search = optimizer(algorithm)
    assert search.survivors().shape == (0, 6)
    asked = search.ask()

    search.tell(asked[:0], np.zeros((0, 2)), np.zeros(0))
    assert search.survivors().shape == (0, 6)
    objectives = np.arange(16.0, 0.0, -1.0).reshape(8, 2)
    search.tell(asked, objectives, np.asarray([0.0] * 7 + [1.0]))

    assert search.survivors().tolist() == [*asked[6::-1].tolist(), asked[7].tolist()]


@quick_algorithms
def test_revised_figures_replace_the_earlier_ones(algorithm: str) -> None:
    search = optimizer(algorithm)
    asked = search.ask()
    search.tell(asked, *bounded(asked))
    last, unknown = search.survivors()[-1:], np.full((1, 6), 9)

    search.revise(np.concatenate([unknown, last]), np.full((2, 2), -9.0), np.zeros(2))
    search.tell(unknown - 5, np.ones((1, 2)), np.zeros(1))

    assert search.survivors()[0].tolist() == last[0].tolist()
    assert len(search.survivors()) == 8


@quick_algorithms
def test_nan_is_never_taken(algorithm: str) -> None:
    search = optimizer(algorithm)
    asked = search.ask()

    with pytest.raises(ValueError, match="finite"):
        search.tell(asked, np.full((8, 2), np.nan), np.zeros(8))


def test_a_missing_package_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(making, "find_spec", lambda name: None)

    for algorithm in ("optuna-tpe", "optuna-nsga2", "optuna-gp"):
        with pytest.raises(SpecError, match=r"needs optuna.*pip install 'beacon-dse\[optuna\]'"):
            check_available(algorithm)
    check_available("nsga2")
    check_available("random")


def test_only_an_optuna_algorithm_loads_optuna() -> None:
    code = "import sys, dse.optimizers.making; print({'optuna', 'torch'} & set(sys.modules))"

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "set()"
