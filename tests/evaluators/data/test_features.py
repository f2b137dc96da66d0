import numpy as np
import pytest
import torch

from evaluators.data.features import (
    INPUTS,
    TELEPHONE,
    WIDE,
    Framing,
    log_mel,
    quick_log_mel,
)


@pytest.mark.parametrize(
    ("rate_hz", "window", "transform"), [(22050, 551, 1024), (16000, 400, 512)]
)
def test_window_is_25_ms_and_the_transform_the_next_power_of_two(
    rate_hz: int, window: int, transform: int
) -> None:
    framing = Framing(rate_hz)

    assert (framing.window, framing.transform) == (window, transform)
    assert framing.hop == rate_hz / 100


def test_window_starts_are_rounded_half_up() -> None:
    # Hop 220.5 samples: 0, 220.5, 441, 661.5.
    assert Framing(22050).starts(551 + 662).tolist() == [0, 221, 441, 662]


def test_middle_of_a_joined_frame_lies_between_its_two_windows() -> None:
    # Centres of the first two windows at 16 kHz: 200 and 360; of the next two: 520 and 680.
    assert Framing(16000).middles(2).tolist() == [280.0, 600.0]


@pytest.mark.parametrize("n_samples", [0, 399, 400, 559])
def test_audio_shorter_than_two_windows_has_no_frame(n_samples: int) -> None:
    assert log_mel(np.ones(n_samples, dtype=np.float32), 16000).shape == (0, INPUTS)


def test_features_have_mean_0_and_deviation_1_per_mel() -> None:
    random = np.random.default_rng(0)
    audio = random.standard_normal(16000, dtype=np.float32)

    features = log_mel(audio, 16000).reshape(-1, INPUTS // 2)

    assert features.dtype == np.float32
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=0), 1, atol=1e-4)


def test_digital_silence_gives_finite_features() -> None:
    # The mean of equal float32 values may differ from them in the last place.
    assert np.abs(log_mel(np.zeros(16000, dtype=np.float32), 16000)).max() < 0.01


def test_tone_is_loudest_in_the_mel_that_covers_it() -> None:
    time_s = np.arange(22050) / 22050
    rising = np.sin(2 * np.pi * (300 + 1500 * time_s) * time_s).astype(np.float32)

    loudest = log_mel(rising, 22050)[:, : INPUTS // 2].argmax(axis=1)

    assert loudest[1] < loudest[len(loudest) // 2] < loudest[-2]


@pytest.mark.parametrize("rate_hz", [22050, 16000])
def test_quick_features_are_the_others_but_for_rounding(rate_hz: int) -> None:
    audio = np.random.default_rng(0).standard_normal(20000, dtype=np.float32)

    quick = quick_log_mel(torch.from_numpy(audio), rate_hz, WIDE)

    np.testing.assert_allclose(quick.numpy(), log_mel(audio, rate_hz), atol=1e-4)


def test_quick_features_of_short_audio_have_no_frame() -> None:
    assert quick_log_mel(torch.ones(279), 8000, TELEPHONE).shape == (0, INPUTS)
    assert quick_log_mel(torch.ones(280), 8000, TELEPHONE).shape == (1, INPUTS)
