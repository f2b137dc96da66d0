import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluators.quantizers.fixed_point import fixed_point_grid
from evaluators.quantizers.grid import ChannelGrid
from evaluators.quantizers.histogram import Histogram, histogram
from evaluators.quantizers.ranges import mmse_ends, mmse_threshold
from evaluators.quantizers.scheme import Rule
from evaluators.quantizers.tensor_range import TensorRange, channel_grid, weight_grid, weight_range
from evaluators.quantizers.uniform import UNIFORM_BITS, asymmetric_grid, uniform_grid

QUANTIZERS, SYMMETRIES = ("mmse", "absmax", "percentile"), ("symmetric", "asymmetric")
RULES = [
    Rule(bits=bits, quantizer=quantizer, symmetry=symmetry)
    for bits in (*UNIFORM_BITS, 16)
    for quantizer in QUANTIZERS
    for symmetry in SYMMETRIES
]


def _samples() -> list[Histogram]:
    return [histogram(np.random.default_rng(i).normal(0.3 * i, i + 1, 2500)) for i in range(4)]


def test_least_error_is_the_median_of_the_samples_thresholds() -> None:
    samples = _samples()

    grid = TensorRange(samples).grid(Rule(bits=4))

    median = np.median([mmse_threshold(sample, bits=4) for sample in samples])
    assert grid == uniform_grid(float(median), bits=4)


def test_absmax_is_the_extreme_of_all_samples() -> None:
    samples = _samples()
    low, high = min(s.low for s in samples), max(s.high for s in samples)
    seen = TensorRange(samples)

    symmetric = seen.grid(Rule(bits=4, quantizer="absmax"))
    asymmetric = seen.grid(Rule(bits=4, quantizer="absmax", symmetry="asymmetric"))

    assert symmetric == uniform_grid(max(-low, high), bits=4)
    assert asymmetric == asymmetric_grid(low, high, bits=4)


def test_percentile_is_the_median_of_the_samples_percentiles() -> None:
    samples = _samples()
    magnitude, least, most = np.median([sample.tails for sample in samples], axis=0)
    seen = TensorRange(samples)

    symmetric = seen.grid(Rule(bits=4, quantizer="percentile"))
    asymmetric = seen.grid(Rule(bits=4, quantizer="percentile", symmetry="asymmetric"))

    assert symmetric == uniform_grid(float(magnitude), bits=4)
    assert asymmetric == asymmetric_grid(float(least), float(most), bits=4)


def test_asymmetric_least_error_takes_the_median_of_each_end() -> None:
    samples = _samples()

    grid = TensorRange(samples).grid(Rule(bits=3, symmetry="asymmetric"))

    low, high = np.median([mmse_ends(sample, bits=3) for sample in samples], axis=0)
    assert grid == asymmetric_grid(float(low), float(high), bits=3)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_asymmetric_range_of_values_of_one_sign_holds_zero(quantizer: str) -> None:
    seen = TensorRange([histogram(np.linspace(2.0, 3.0, 50))])

    grid = seen.grid(Rule(bits=8, quantizer=quantizer, symmetry="asymmetric"))

    assert grid.zero == grid.low
    assert grid.codes(torch.zeros(1)).item() == 0.0


def test_fixed_point_format_follows_the_greatest_sample_by_any_rule() -> None:
    samples = [histogram(np.array([-peak, 0.1])) for peak in (0.5, 40.0, 1.0)]
    seen = TensorRange(samples)

    grids = {seen.grid(rule) for rule in RULES if rule.bits == 16}

    assert grids == {fixed_point_grid(40.0)}


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=40))
@settings(deadline=None, max_examples=20)
def test_a_frozen_range_gives_the_same_grids(values: list[float]) -> None:
    seen = TensorRange([histogram(torch.tensor(values).numpy())])

    frozen = seen.freeze()

    assert all(frozen.grid(rule) == seen.grid(rule) for rule in RULES)


def test_weight_is_its_own_sample() -> None:
    weight = torch.randn(20, 30, generator=torch.Generator().manual_seed(1))

    threshold = mmse_threshold(histogram(weight.numpy()), bits=3)

    assert weight_range(weight).grid(Rule(bits=3)) == uniform_grid(threshold, bits=3)


@pytest.mark.parametrize("shape", [(5, 12), (5, 3, 4), (5, 3, 2, 2), (5, 1)])
@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_each_channel_has_the_grid_of_a_tensor_of_its_own(
    shape: tuple[int, ...], bits: int
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(bits))
    weight[2] = 0.0

    grid = channel_grid(weight, bits=bits)

    alone = [weight_range(channel).grid(Rule(bits=bits)) for channel in weight]
    assert grid.scales == tuple(one.scale for one in alone)
    expected = [one.codes(channel) for one, channel in zip(alone, weight, strict=True)]
    assert torch.equal(grid.codes(weight), torch.stack(expected))
    torch.testing.assert_close(
        grid.real(grid.codes(weight)),
        torch.stack([one.real(c) for one, c in zip(alone, expected, strict=True)]),
    )


@pytest.mark.parametrize("bits", UNIFORM_BITS)
def test_channels_of_unlike_sizes_lose_less_with_scales_of_their_own(bits: int) -> None:
    weight = torch.randn(8, 40, generator=torch.Generator().manual_seed(1))
    weight *= torch.logspace(-2, 0, 8)[:, None]

    def error(*, by_channel: bool) -> float:
        grid = weight_grid(weight, bits=bits, by_channel=by_channel)
        real = grid.real(grid.codes(weight))
        return float(((real - weight) / weight.std(1, keepdim=True)).square().mean())

    assert isinstance(weight_grid(weight, bits=bits, by_channel=True), ChannelGrid)
    assert error(by_channel=True) < error(by_channel=False)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_percentiles_of_a_tensor_with_few_values_take_its_extremes(symmetry: str) -> None:
    sparse = np.zeros(100_000)
    sparse[:9] = 3.0

    grid = TensorRange([histogram(sparse)]).grid(
        Rule(bits=8, quantizer="percentile", symmetry=symmetry)
    )

    assert grid == TensorRange([histogram(sparse)]).grid(
        Rule(bits=8, quantizer="absmax", symmetry=symmetry)
    )


def test_values_too_small_to_divide_count_as_one() -> None:
    tiny = histogram(np.array([0.0, 1e-320, 3e-320]))

    assert tiny.constant
    assert mmse_threshold(tiny, bits=4) >= 0
