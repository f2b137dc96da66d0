import pytest
import torch

from evaluators.arithmetic.psum import grouped_psum_matmul
from evaluators.arithmetic.psum_maxima import calibrate_exponents
from tests.evaluators.arithmetic.psum_cases import gaussian_codes

_SNR_DB = {
    8: {1: 19.8, 2: 22.6, 3: 24.2, 4: 25.2, 8: 27.6, 96: 33.3},
    32: {1: 25.9, 2: 28.3, 3: 29.8, 4: 30.5, 8: 32.2, 24: 34.0},
    64: {1: 28.6, 2: 30.2, 3: 30.7, 4: 31.3, 8: 32.0, 12: 33.2},
}


def _snr_db(tile: int, group_size: int, psum_bits: int) -> float:
    x, w = gaussian_codes(128, 768, seed=5), gaussian_codes(768, 768, seed=6)
    maxima = calibrate_exponents(x, w, tile=tile)
    found = grouped_psum_matmul(
        x,
        w,
        tile=tile,
        group_size=group_size,
        exponents=maxima.exponents(group_size=group_size, psum_bits=psum_bits),
        psum_bits=psum_bits,
    )
    exact = x.double() @ w.double().T
    noise = (found.double() - exact).square().sum()
    return float(10 * torch.log10(exact.square().sum() / noise))


@pytest.mark.parametrize("tile", [8, 32, 64])
def test_signal_to_noise_is_as_measured_and_grows_with_the_group(tile: int) -> None:
    found = {group_size: _snr_db(tile, group_size, 8) for group_size in _SNR_DB[tile]}

    for group_size, wanted in _SNR_DB[tile].items():
        assert found[group_size] == pytest.approx(wanted, abs=0.7)
    ordered = [found[group_size] for group_size in sorted(found)]
    assert all(more > less - 0.2 for less, more in zip(ordered, ordered[1:], strict=False))
    if tile == 8:
        for group_size in (1, 2, 4):
            assert 2.0 <= found[2 * group_size] - found[group_size] <= 3.5


def test_signal_to_noise_grows_with_the_bits() -> None:
    found = [_snr_db(64, 2, bits) for bits in (4, 6, 8, 16)]

    for snr, wanted in zip(found, (5.7, 18.4, 30.4, 72.0), strict=True):
        assert snr == pytest.approx(wanted, abs=1.0)
