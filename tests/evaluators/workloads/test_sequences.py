from itertools import groupby

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.workloads.sequences import PAD, IntArray, decode, edit_distances

label_lists = st.lists(st.integers(1, 4), max_size=9)
class_lists = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def levenshtein(a: list[int], b: list[int]) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def padded(rows: list[list[int]]) -> IntArray:
    width = max((len(row) for row in rows), default=0)
    return np.array([row + [PAD] * (width - len(row)) for row in rows], dtype=np.int64).reshape(
        len(rows), width
    )


@settings(deadline=None)
@given(st.lists(st.tuples(label_lists, label_lists), min_size=1, max_size=6))
def test_edit_distances_are_levenshteins(pairs: list[tuple[list[int], list[int]]]) -> None:
    references = padded([a for a, _ in pairs])
    guesses = padded([b for _, b in pairs])

    distances = edit_distances(references, guesses)

    assert distances.tolist() == [levenshtein(a, b) for a, b in pairs]


@given(st.lists(class_lists, min_size=1, max_size=5), st.integers(0, 3))
def test_decoding_merges_runs_then_drops_silence_and_padding(
    paths: list[list[int]], silent: int
) -> None:
    longest = max(map(len, paths))
    # Padding holds a class too: what the network says there.
    guesses = np.array([path + [1] * (longest - len(path)) for path in paths])
    inside = np.arange(longest) < np.array([[len(path)] for path in paths])

    heard = decode(guesses, inside, silent=silent)

    expected = [[c for c, _ in groupby(path) if c != silent] for path in paths]
    assert heard.tolist() == padded(expected).tolist()
