import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.errors import SpecError
from evaluators.quantizers.ranges import BINS, histogram, mmse_costs, mmse_threshold
from evaluators.quantizers.uniform import UNIFORM_BITS

_U = (np.arange(10_000) + 0.5) / 10_000
_NORMAL = np.array([NormalDist().inv_cdf(u) for u in _U])
_LAPLACE = np.sign(_U - 0.5) * -np.log(1 - 2 * np.abs(_U - 0.5))
_UNIFORM = 2 * _U - 1


@pytest.mark.parametrize(
    ("values", "peak", "indices"),
    [
        (_NORMAL, 3.890592, (31, 63, 95)),
        (_LAPLACE, 9.210340, (21, 52, 95)),
        (_UNIFORM, 0.9999, (67, 93, 99)),
    ],
    ids=["normal", "laplace", "uniform"],
)
def test_scan_finds_the_reference_thresholds_of_known_distributions(
    values: NDArray[np.float64], peak: float, indices: tuple[int, ...]
) -> None:
    source = histogram(values)

    assert source.peak == pytest.approx(peak, abs=5e-7)
    for bits, index in zip((2, 4, 8), indices, strict=True):
        assert np.argmin(mmse_costs(source, bits=bits)) == index - 1
        assert mmse_threshold(source, bits=bits) == pytest.approx(0.01 * index * source.peak)


@pytest.mark.parametrize(
    ("bits", "threshold", "cost"),
    [(2, 1.20608, 0.190091), (4, 2.45107, 0.0127164), (8, 3.69606, 7.3663e-5)],
)
def test_scan_of_a_normal_distribution_has_the_reference_cost(
    bits: int, threshold: float, cost: float
) -> None:
    source = histogram(_NORMAL)

    assert mmse_threshold(source, bits=bits) == pytest.approx(threshold, abs=5e-6)
    assert min(mmse_costs(source, bits=bits)) == pytest.approx(cost, rel=5e-6)


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_costs_equal_the_scan_written_out_bin_by_bin(bits: int) -> None:
    values = np.random.default_rng(3).normal(0.4, 1.0, 500)
    counts, edges = np.histogram(values, bins=BINS)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1

    expected = []
    for j in range(1, 100):
        alpha = 0.01 * j * max(abs(values))
        scale, cost = high / alpha, 0.0
        for k in range(BINS):
            x = (edges[k] + edges[k + 1]) / 2
            level = min(max(math.floor(scale * x + 0.5), low), high) / scale
            error = abs(x) - alpha if abs(x) > alpha else x - level
            cost += counts[k] / values.size * error**2
        expected.append(cost)

    np.testing.assert_allclose(mmse_costs(histogram(values), bits=bits), expected, rtol=1e-9)


def test_threshold_of_zeros_is_zero() -> None:
    assert mmse_threshold(histogram(np.zeros((3, 4))), bits=4) == 0.0


@pytest.mark.parametrize("value", [2.5, -2.5, 1e-45])
@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_constant_is_clipped_by_the_last_candidate(value: float, bits: int) -> None:
    source = histogram(np.full(7, value))

    assert mmse_threshold(source, bits=bits) == pytest.approx(0.99 * abs(value), rel=1e-6)


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
