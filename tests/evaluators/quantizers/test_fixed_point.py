import math

import pytest
import torch

from dse.errors import SpecError
from evaluators.quantizers.fixed_point import fixed_point_grid


@pytest.mark.parametrize(
    ("peak", "fraction_bits"),
    [(0.0, 14), (1.9999, 14), (2.0, 10), (31.99, 10), (32.0, 7), (1e6, 7)],
)
def test_peak_chooses_the_format(peak: float, fraction_bits: int) -> None:
    assert fixed_point_grid(peak).scale == 2**fraction_bits


def test_values_beyond_the_format_saturate() -> None:
    grid = fixed_point_grid(1e6)

    values = grid.codes(torch.tensor([-1e6, -256.0, 255.5, 1e6])) * grid.step

    assert values.tolist() == [-256.0, -256.0, 255.5, 256.0 - 2**-7]


def test_half_a_step_rounds_to_even() -> None:
    step = 2.0**-14

    codes = fixed_point_grid(1.0).codes(torch.tensor([step / 2, -step / 2, -1.5 * step]))

    assert codes.tolist() == [0, 0, -2]


@pytest.mark.parametrize("peak", [-1.0, math.nan, math.inf])
def test_impossible_peaks_are_refused(peak: float) -> None:
    with pytest.raises(SpecError, match="peak must be finite"):
        fixed_point_grid(peak)
