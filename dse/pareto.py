"""Dominance, fronts, ranks, crowding and hypervolume.

All objectives here are minimised. Every order is stable: ties keep the order of the rows, so no
result depends on the sorting kernels of the CPU. Equal rows do not dominate each other: all of
them belong to the front, or none does. NaN and infinity are refused.
"""

import numpy as np
from numpy.typing import NDArray
from pymoo.indicators.hv import HV

from dse.ports import FloatArray, IntArray

BoolArray = NDArray[np.bool_]


def non_dominated(objectives: FloatArray) -> BoolArray:
    """Mark the rows that no other row dominates.

    Args:
        objectives: (n, n_objectives).

    Returns:
        (n,) of bool.
    """
    _check_finite(objectives)
    if objectives.shape[1] == 2:
        return _non_dominated_2d(objectives)
    mask = np.empty(len(objectives), dtype=np.bool_)
    for start in range(0, len(objectives), 512):
        block = objectives[start : start + 512]
        mask[start : start + 512] = ~_dominates(objectives, block).any(axis=0)
    return mask


def ranks(objectives: FloatArray, violations: FloatArray) -> IntArray:
    """Rank rows by constrained domination (Deb et al. 2002, section VI): feasible ones by their
    non-dominated front, infeasible ones behind all of them by ascending violation.

    Args:
        objectives: (n, n_objectives); rows of infeasible designs are not looked at.
        violations: (n,), 0 for feasible designs.

    Returns:
        (n,), 0 is best.
    """
    result = np.zeros(len(objectives), dtype=np.int64)
    feasible = np.flatnonzero(violations <= 0)
    infeasible = np.flatnonzero(violations > 0)
    next_rank = 0
    rest = feasible
    while len(rest):
        best = non_dominated(objectives[rest])
        result[rest[best]] = next_rank
        rest = rest[~best]
        next_rank += 1
    _, order = np.unique(violations[infeasible], return_inverse=True)
    result[infeasible] = next_rank + order
    return result


def crowding(objectives: FloatArray) -> FloatArray:
    """Return the crowding distance of each row within one front (Deb et al. 2002, section
    III-B): the rows at either end of an objective are infinitely far from their neighbours.

    Args:
        objectives: (n, n_objectives), one front.

    Returns:
        (n,); infinity occurs.
    """
    n = len(objectives)
    distance = np.zeros(n)
    if n <= 2:
        return np.full(n, np.inf)
    for column in objectives.T:
        order = np.argsort(column, kind="stable")
        spread = column[order[-1]] - column[order[0]]
        distance[order[[0, -1]]] = np.inf
        if spread > 0:
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / spread
    return distance


def crowding_by_rank(objectives: FloatArray, violations: FloatArray, rank: IntArray) -> FloatArray:
    """Return crowding distances within each feasible rank; infeasible rows get 0: (n,)."""
    distance = np.zeros(len(objectives))
    feasible = violations <= 0
    for value in np.unique(rank[feasible]):
        members = np.flatnonzero(feasible & (rank == value))
        distance[members] = crowding(objectives[members])
    return distance


def survivors(objectives: FloatArray, violations: FloatArray, size: int) -> IntArray:
    """Choose the `size` best rows by rank, then by crowding, then by position.

    Returns:
        Row numbers (at most `size`,), best first.
    """
    rank = ranks(objectives, violations)
    distance = crowding_by_rank(objectives, violations, rank)
    order = np.lexsort((np.arange(len(rank)), -distance, rank))
    return np.asarray(order[:size], dtype=np.int64)


def hypervolume(objectives: FloatArray, reference: FloatArray) -> float:
    """Return the volume that the rows dominate below `reference` (n_objectives,).

    Rows that are not better than the reference in every objective add nothing.
    """
    inside = objectives[(objectives < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    front = inside[non_dominated(inside)]
    # one order for equal sets: the sum inside depends on it in the last digits
    front = np.unique(front, axis=0)
    return float(HV(ref_point=reference)(front))


def _non_dominated_2d(objectives: FloatArray) -> BoolArray:
    order = np.lexsort((objectives[:, 1], objectives[:, 0]))
    first, second = objectives[order].T
    before = np.concatenate(([np.inf], np.minimum.accumulate(second)[:-1]))
    same_as_previous = np.concatenate(
        ([False], (first[1:] == first[:-1]) & (second[1:] == second[:-1]))
    )
    # a row is kept if it improves on all before it, or repeats a row that was kept
    leads = second < before
    kept = leads[np.maximum.accumulate(np.where(same_as_previous, 0, np.arange(len(order))))]
    mask = np.empty(len(order), dtype=np.bool_)
    mask[order] = kept
    return mask


def _dominates(rows: FloatArray, others: FloatArray) -> BoolArray:
    """Return (n_rows, n_others): row i dominates other j."""
    no_worse = (rows[:, None, :] <= others[None, :, :]).all(axis=2)
    better = (rows[:, None, :] < others[None, :, :]).any(axis=2)
    return np.asarray(no_worse & better)


def _check_finite(objectives: FloatArray) -> None:
    if objectives.ndim != 2 or not np.isfinite(objectives).all():
        raise ValueError(
            f"objectives must be a finite (n, n_objectives) array, got shape {objectives.shape}"
            " with NaN or infinity"
            if objectives.ndim == 2
            else f"objectives must have 2 dimensions, got {objectives.ndim}"
        )
