"""Exact counts of one layer, a row a choice, each counted when it is first asked for.

For models whose choices are too many or too dear to be tabulated beforehand, and whose counts are
integers, so that sums over layers are exact in any order.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Final, final

import numpy as np

from dse.ports import IntArray

_CHUNK: Final = 4000
"""Designs looked up at a time: their rows stay in the processor's cache."""


@final
class Ledger:
    """The rows of one layer.

    Args:
        choices: how many choices there are; they are told by number.
        columns: counts of one choice.
    """

    def __init__(self, choices: int, columns: int) -> None:
        self._places = np.full(choices, -1, dtype=np.int64)
        self._rows = np.empty((0, columns), dtype=np.int64)
        self._lock = Lock()

    def add_to(
        self, total: IntArray, choices: IntArray, count: Callable[[int], Sequence[int]]
    ) -> None:
        """Add each design's row to its total.

        Args:
            total: (n_designs, columns), changed in place.
            choices: (n_designs,).
            count: gives the row of a choice that was never asked for; what it raises leaves the
                ledger as it was.
        """
        for start in range(0, len(choices), _CHUNK):
            part = slice(start, start + _CHUNK)
            places = self._places[choices[part]]
            if (places < 0).any():
                self._count(np.unique(choices[part]), count)
                places = self._places[choices[part]]
            total[part] += self._rows[places]

    def _count(self, choices: IntArray, count: Callable[[int], Sequence[int]]) -> None:
        with self._lock:  # of a server's threads
            missing = choices[self._places[choices] < 0]
            rows = [list(count(choice)) for choice in missing.tolist()]
            known = len(self._rows)
            told = np.array(rows, dtype=np.int64).reshape(len(rows), self._rows.shape[1])
            self._rows = np.concatenate([self._rows, told])
            self._places[missing] = np.arange(known, known + len(rows))
