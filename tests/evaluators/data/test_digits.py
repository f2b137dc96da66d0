from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from evaluators.data.digits import (
    Strings,
    batch,
    pack,
    pack_recordings,
    unpack,
    unpack_recordings,
)
from evaluators.data.fsdd import Recording


def recording(digit: int, speaker: int, n_samples: int = 1600) -> Recording:
    phase = np.arange(n_samples) * (0.2 + 0.2 * digit)
    samples = (0.1 * 2**0.5 * np.sin(phase)).astype(np.float32)
    return Recording(samples=samples, digit=digit, speaker=speaker)


RECORDINGS = [recording(digit, speaker) for speaker in (0, 4) for digit in range(10)]


def strings(*, varied: bool = False) -> Strings:
    return Strings(RECORDINGS, varied=varied)


@pytest.mark.parametrize("varied", [False, True])
def test_strings_follow_from_the_generator_alone(varied: bool) -> None:
    drawn = [
        [strings(varied=varied).draw(random) for _ in range(3)]
        for random in (np.random.default_rng(7), np.random.default_rng(7))
    ]

    for one, other in zip(*drawn, strict=True):
        assert torch.equal(one.features, other.features)
        assert torch.equal(one.digits, other.digits)


def test_string_has_3_to_7_digits_and_their_sound_with_silences() -> None:
    random = np.random.default_rng(0)
    counts = set()
    for _ in range(60):
        one = strings().draw(random)
        count = len(one.digits)
        # 0.2 s a digit and 0.05 to 0.25 s of silence around each, in frames of 0.02 s; the last
        # windows may not fit.
        assert 10 * count + 2.5 * (count + 1) - 3 <= len(one.features)
        assert len(one.features) <= 10 * count + 12.5 * (count + 1)
        assert one.features.shape[1] == 80
        counts.add(count)
    assert counts == {3, 4, 5, 6, 7}


def test_string_is_of_one_speaker() -> None:
    # Speakers 0, 1 and 2 say 0, 1 and 2.
    said = Strings([recording(n, n) for n in (0, 1, 2)], varied=False)
    random = np.random.default_rng(0)

    heard = [set(said.draw(random).digits.tolist()) for _ in range(30)]

    assert all(len(digits) == 1 for digits in heard)
    assert set().union(*heard) == {0, 1, 2}


def test_varied_speech_is_faster_or_slower_within_bounds() -> None:
    said = Strings([recording(3, 0, n_samples=80_000)], varied=True)
    random = np.random.default_rng(0)

    seconds = [len(said.draw(random, (1, 1)).features) / 50 for _ in range(40)]

    assert 10 / 1.2 <= min(seconds) < 9.0
    assert 11.5 < max(seconds) <= 10 / 0.82 + 0.5


def test_batches_begin_with_short_strings() -> None:
    made = list(islice(strings().batches(np.random.default_rng(0), short=2, size=8), 5))

    for features, digits, frames, counts in made[:2]:
        assert (counts >= 1).all()
        assert (counts <= 3).all()
        assert features.shape == (8, int(frames.max()), 80)
        assert digits.shape == (8, int(counts.max()))
    assert all((counts >= 3).all() for *_, counts in made[2:])


def test_strings_of_like_length_share_a_batch() -> None:
    made = list(islice(strings().batches(np.random.default_rng(0), size=8), 8))

    for group in (made[:4], made[4:]):
        spans = sorted((int(frames.min()), int(frames.max())) for _, _, frames, _ in group)
        assert all(left[1] <= right[0] for left, right in pairwise(spans))


def test_batch_pads_at_the_ends() -> None:
    random = np.random.default_rng(0)
    drawn = [strings().draw(random) for _ in range(5)]

    features, digits, frames, counts = batch(drawn)

    for i, one in enumerate(drawn):
        assert torch.equal(features[i, : frames[i]], one.features)
        assert not features[i, frames[i] :].any()
        assert digits[i].tolist() == one.digits.tolist() + [-1] * int(max(counts) - counts[i])


def test_unpack_is_the_inverse_of_pack() -> None:
    random = np.random.default_rng(0)
    splits = {
        name: [strings().draw(random) for _ in range(count)]
        for name, count in (("search", 3), ("test", 1))
    }

    again = unpack(pack(splits))

    assert list(again) == ["search", "test"]
    for name, split in splits.items():
        for one, other in zip(split, again[name], strict=True):
            assert torch.equal(one.features, other.features)
            assert torch.equal(one.digits, other.digits)


def test_recordings_come_back_as_they_were_packed() -> None:
    different = [recording(1, 0, 300), recording(9, 2, 700)]

    for one, other in zip(different, unpack_recordings(pack_recordings(different)), strict=True):
        assert one.samples.tolist() == other.samples.tolist()
        assert (one.digit, one.speaker) == (other.digit, other.speaker)
