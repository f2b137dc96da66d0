"""A loop nest that moves every element one by one: the oracle of the closed forms."""

from collections import Counter

import numpy as np

from dse.ports import IntArray
from evaluators.hardware.accesses import Array, Dataflow


def run(
    inputs: IntArray, weights: IntArray, dataflow: Dataflow, array: Array
) -> tuple[IntArray, Counter[str], int]:
    """Multiply inputs (m, k) by weights (k, n) on an array of one-operand registers.

    Returns:
        The product (m, n), what was read and written, and the largest number of unfinished sums
        that lay in the buffer at once.
    """
    m, k = inputs.shape
    n = weights.shape[1]
    ks, ns, ms = _steps(k, array.pci), _steps(n, array.pco), _steps(m, array.po)
    moved: Counter[str] = Counter()
    finished = np.zeros((m, n), dtype=np.int64)
    unfinished: dict[tuple[int, int], int] = {}
    most = 0
    if dataflow == "ws":
        order = [(ni, ki, mi, (ni, ki)) for ni in ns for ki in ks for mi in ms]
    elif dataflow == "is":
        order = [(ni, ki, mi, (mi, ki)) for mi in ms for ki in ks for ni in ns]
    else:
        order = [(ni, ki, mi, (mi, ni)) for mi in ms for ni in ns for ki in ks]
    held: tuple[range, range] | None = None
    for ni, ki, mi, stays in order:
        fresh, held = stays != held, stays
        moved["steps"] += 1
        if dataflow != "ws" or fresh:
            moved["weight_reads"] += len(ki) * len(ni)
        if dataflow != "is" or fresh:
            moved["input_reads"] += len(mi) * len(ki)
        for i in mi:
            for j in ni:
                part = sum(int(inputs[i, q]) * int(weights[q, j]) for q in ki)
                if ki.start > 0:
                    part += unfinished.pop((i, j))
                    moved["sum_reads"] += dataflow != "os"
                if ki.stop == k:
                    finished[i, j] = part
                    moved["output_writes"] += 1
                else:
                    unfinished[i, j] = part
                    moved["sum_writes"] += dataflow != "os"
        if dataflow != "os":
            most = max(most, len(unfinished))
    return finished, moved, most


def _steps(size: int, side: int) -> list[range]:
    return [range(start, min(start + side, size)) for start in range(0, size, side)]
