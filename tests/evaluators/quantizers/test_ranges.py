import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluators.quantizers.histogram import BINS, histogram
from evaluators.quantizers.ranges import mmse_costs, mmse_ends, mmse_threshold
from evaluators.quantizers.uniform import UNIFORM_BITS, asymmetric_grid

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


def _error(values: NDArray[np.float64], ends: tuple[float, float], bits: int) -> float:
    grid = asymmetric_grid(*ends, bits=bits)
    levels = np.clip(np.rint(values * grid.scale), grid.least, grid.most) / grid.scale
    return float(((values - levels) ** 2).mean())


@pytest.mark.parametrize("bits", UNIFORM_BITS)
@pytest.mark.parametrize("values", [_NORMAL, _NORMAL + 1.5, np.exp(_NORMAL), _LAPLACE - 20.0])
def test_both_ends_are_about_as_good_as_any_pair_of_hundredths(
    values: NDArray[np.float64], bits: int
) -> None:
    source = histogram(values)
    centres = np.repeat(source.centres, source.counts)

    found = _error(centres, mmse_ends(source, bits=bits), bits)

    low, high = min(source.low, 0.0), max(source.high, 0.0)
    shares = np.arange(0.1, 1.01, 0.1)
    tenths = min(_error(centres, (low * i, high * j), bits) for i in shares for j in shares)
    assert found <= 1.02 * tenths


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_values_of_one_sign_leave_the_other_end_at_zero(bits: int) -> None:
    positive, negative = histogram(_UNIFORM + 1.0), histogram(_UNIFORM - 1.0)

    assert mmse_ends(positive, bits=bits)[0] == 0.0
    assert mmse_ends(negative, bits=bits)[1] == 0.0
    assert mmse_ends(positive, bits=bits)[1] == pytest.approx(-mmse_ends(negative, bits=bits)[0])


def test_ends_of_zeros_are_zero() -> None:
    assert mmse_ends(histogram(np.zeros(3)), bits=4) == (0.0, 0.0)


@pytest.mark.parametrize("value", [2.5, -2.5])
def test_a_constant_is_an_end_of_its_own(value: float) -> None:
    ends = mmse_ends(histogram(np.full(7, value)), bits=4)

    assert ends == (min(value, 0.0), max(value, 0.0))
