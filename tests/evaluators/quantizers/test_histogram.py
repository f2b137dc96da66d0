import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import SpecError
from evaluators.quantizers import histogram as module
from evaluators.quantizers.histogram import BINS, histogram

_FLOATS = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=60)


@given(_FLOATS)
def test_bins_are_those_of_numpy(values: list[float]) -> None:
    seen = histogram(np.array(values, dtype=np.float32))

    assert (seen.low, seen.high, seen.peak) == (min(values), max(values), max(map(abs, values)))
    if not seen.constant:
        counts, edges = np.histogram(np.array(values), bins=BINS)
        np.testing.assert_array_equal(seen.counts, counts)
        np.testing.assert_array_equal(seen.centres, (edges[:-1] + edges[1:]) / 2)


def test_pieces_of_a_large_tensor_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).normal(size=1000)
    whole = histogram(values)

    monkeypatch.setattr(module, "_AT_ONCE", 7)

    np.testing.assert_array_equal(histogram(values).counts, whole.counts)


@pytest.mark.parametrize(("size", "beyond", "an_end"), [(999, 0, 0), (1000, 1, 0), (6000, 6, 3)])
def test_a_thousandth_of_the_values_lies_beyond_the_percentiles(
    size: int, beyond: int, an_end: int
) -> None:
    values = np.random.default_rng(1).permutation(np.arange(size) - size / 3)

    magnitude, least, most = histogram(values).tails

    assert (np.abs(values) > magnitude).sum() == beyond
    assert ((values < least).sum(), (values > most).sum()) == (an_end, an_end)


def test_shares_sum_to_one_and_shape_does_not_matter() -> None:
    values = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)

    source = histogram(values)

    assert source.shares.sum() == pytest.approx(1.0)
    np.testing.assert_array_equal(source.shares, histogram(values.ravel()).shares)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(SpecError, match="finite"):
        histogram(np.array([1.0, value]))


def test_no_values_are_refused() -> None:
    with pytest.raises(SpecError, match="at least one value"):
        histogram(np.empty((0, 3)))
