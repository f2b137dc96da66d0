from itertools import islice

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from evaluators.models.pictures import Shuffled, class_loss, floats

PIXELS = torch.from_numpy(np.random.default_rng(0).integers(1, 256, (10, 6, 5), dtype=np.uint8))
LABELS = torch.arange(10)


def test_floats_run_from_0_to_1() -> None:
    found = floats(torch.tensor([[[0, 51, 255]]], dtype=torch.uint8))

    torch.testing.assert_close(found, torch.tensor([[[[0.0, 0.2, 1.0]]]]))


def test_epoch_gives_every_picture_once_with_its_label() -> None:
    shuffled = Shuffled(pixels=PIXELS, labels=LABELS, size=5)

    batches = list(islice(shuffled.batches(np.random.default_rng(1)), 2))

    labels = torch.cat([labels for _, labels in batches])
    assert sorted(labels.tolist()) == list(range(10))
    assert labels.tolist() != list(range(10))
    for pictures, numbers in batches:
        assert torch.equal(pictures, floats(PIXELS[numbers]))


def test_batch_is_no_larger_than_what_there_is() -> None:
    shuffled = Shuffled(pixels=PIXELS, labels=LABELS, size=64)

    assert [len(y) for _, y in islice(shuffled.batches(np.random.default_rng(1)), 3)] == [10] * 3


def test_shifted_pictures_are_crops_of_themselves_with_an_empty_frame() -> None:
    shuffled = Shuffled(pixels=PIXELS, labels=LABELS, size=10, shift=2)
    framed = torch.nn.functional.pad(PIXELS, (2, 2, 2, 2))

    places = set()
    for pictures, labels in islice(shuffled.batches(np.random.default_rng(1)), 20):
        for picture, label in zip((pictures[:, 0] * 255).round().byte(), labels, strict=True):
            found = [
                (y, x)
                for y in range(5)
                for x in range(5)
                if torch.equal(framed[label, y : y + 6, x : x + 5], picture)
            ]
            assert len(found) == 1
            places.add(found[0])
    assert len(places) == 25


def test_the_same_generator_gives_the_same_batches() -> None:
    shuffled = Shuffled(pixels=PIXELS, labels=LABELS, size=4, shift=1)

    first, second = (list(islice(shuffled.batches(np.random.default_rng(3)), 6)) for _ in range(2))

    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_loss_is_the_cross_entropy_of_pixels_too() -> None:
    scores = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(32).reshape(2, 4, 4) % 3

    found = class_loss(nn.Identity(), (scores, labels), torch.Generator())

    expected = cross_entropy(scores.permute(0, 2, 3, 1).reshape(-1, 3), labels.reshape(-1))
    torch.testing.assert_close(found, expected)
