import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.pareto import crowding, hypervolume, non_dominated, ranks, survivors
from dse.ports import FloatArray


def grids(columns: int) -> st.SearchStrategy[FloatArray]:
    shape = st.tuples(st.integers(0, 40), st.just(columns))
    return arrays(np.float64, shape, elements=st.integers(0, 6).map(float))


def brute_force(objectives: FloatArray) -> list[bool]:
    return [
        not any((o <= row).all() and (o < row).any() for o in objectives) for row in objectives
    ]


@pytest.mark.parametrize("columns", [1, 2, 3, 4])
@given(data=st.data())
def test_non_dominated_equals_brute_force(columns: int, data: st.DataObject) -> None:
    objectives = data.draw(grids(columns))

    assert non_dominated(objectives).tolist() == brute_force(objectives)


def test_non_dominated_handles_more_rows_than_a_block() -> None:
    objectives = np.random.default_rng(0).integers(0, 40, size=(1300, 3)).astype(float)

    assert non_dominated(objectives).tolist() == brute_force(objectives)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_dominated_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        non_dominated(np.array([[0.0, bad]]))


def test_non_dominated_refuses_a_vector() -> None:
    with pytest.raises(ValueError, match="2 dimensions, got 1"):
        non_dominated(np.zeros(3))


def test_infeasible_rows_rank_behind_feasible_ones_by_violation() -> None:
    objectives = np.array([[5.0, 5.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
    violations = np.array([0.0, 0.0, 0.5, 0.1, 0.5])

    assert ranks(objectives, violations).tolist() == [1, 0, 3, 2, 3]


@given(objectives=grids(2))
def test_ranks_peel_off_fronts(objectives: FloatArray) -> None:
    rank = ranks(objectives, np.zeros(len(objectives)))

    for value in range(rank.max() + 1 if len(rank) else 0):
        rest = objectives[rank >= value]
        assert brute_force(rest) == (rank[rank >= value] == value).tolist()


def test_crowding_of_a_line_is_worked_by_hand() -> None:
    front = np.array([[0.0, 10.0], [1.0, 6.0], [5.0, 5.0], [10.0, 0.0]])

    # Deb et al. 2002: (5-0)/10 + (10-5)/10 and (10-1)/10 + (6-0)/10
    assert crowding(front).tolist() == [np.inf, 1.0, 1.5, np.inf]


def test_crowding_of_equal_rows_is_zero_inside() -> None:
    assert crowding(np.ones((4, 2))).tolist() == [np.inf, 0.0, 0.0, np.inf]


def test_survivors_of_tied_rows_keep_their_order() -> None:
    # beyond 256 rows numpy's default sort orders ties by the CPU's vector width
    objectives = np.tile([[1.0, 1.0]], (600, 1))

    chosen = survivors(objectives, np.zeros(600), 300)

    assert chosen.tolist() == [0, 599, *range(1, 299)]


def test_hypervolume_of_two_rectangles() -> None:
    objectives = np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0], [9.0, 0.0]])

    assert hypervolume(objectives, np.array([3.0, 3.0])) == 3.0


def test_hypervolume_of_rows_at_the_reference_is_zero() -> None:
    assert hypervolume(np.array([[3.0, 0.0]]), np.array([3.0, 3.0])) == 0.0


@given(objectives=grids(3), seed=st.integers(0, 9))
def test_hypervolume_does_not_depend_on_the_order(objectives: FloatArray, seed: int) -> None:
    reference = np.array([5.0, 5.0, 5.0])
    shuffled = np.random.default_rng(seed).permutation(objectives)

    assert hypervolume(shuffled, reference) == hypervolume(objectives, reference)


@given(objectives=grids(3))
def test_hypervolume_equals_counted_cells(objectives: FloatArray) -> None:
    cells = np.stack(np.meshgrid(*[np.arange(5)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    covered = sum(bool((objectives <= cell).all(axis=1).any()) for cell in cells)

    assert hypervolume(objectives, np.array([5.0, 5.0, 5.0])) == covered
