import pytest
import torch

from evaluators.data.images import Images
from evaluators.data.scenes import CLASSES, COUNTS, SCENE_SIDE, compose

SQUARE = torch.zeros(28, 28, dtype=torch.uint8)
SQUARE[7:21, 7:21] = 255


def squares(digit: int) -> Images:
    return Images(pixels=SQUARE.expand(5, 28, 28), labels=torch.full((5,), digit))


@pytest.fixture(scope="module")
def scenes() -> dict[str, Images]:
    splits = {"train": squares(3), "test": squares(8)}
    return compose(splits, {"train": 30, "test": 20})


def test_scenes_are_of_the_digits_of_their_split(scenes: dict[str, Images]) -> None:
    assert set(scenes["train"].labels.flatten().tolist()) == {0, 4}
    assert set(scenes["test"].labels.flatten().tolist()) == {0, 9}
    assert len(scenes["train"]) == 30
    for images in scenes.values():
        assert images.pixels.shape == images.labels.shape == (len(images), SCENE_SIDE, SCENE_SIDE)
        assert images.pixels.dtype == torch.uint8
        assert int(images.labels.max()) < CLASSES


def test_masks_are_where_the_ink_is(scenes: dict[str, Images]) -> None:
    for images in scenes.values():
        ink = images.pixels[images.labels > 0].float()
        ground = images.pixels[images.labels == 0].float()

        assert float(ink.mean()) > 180
        assert float(ground.mean()) < 100
        # a digit covers a quarter of a square of 20 to 36 pixels, and there are 2 to 5 of them
        covered = (images.labels > 0).flatten(1).sum(1)
        assert int(covered.min()) >= 100
        assert int(covered.max()) <= 5 * 19 * 19


def test_scenes_are_the_same_every_time_and_differ_from_each_other() -> None:
    splits = {"train": squares(3), "test": squares(3)}
    counts = {"train": 4, "test": 4}

    first, second = compose(splits, counts), compose(splits, counts)

    together = torch.cat([first["train"].pixels, first["test"].pixels]).flatten(1)
    assert len({one.numpy().tobytes() for one in together}) == 8
    for name in splits:
        assert torch.equal(first[name].pixels, second[name].pixels)
        assert torch.equal(first[name].labels, second[name].labels)


def test_every_split_has_a_number_of_scenes() -> None:
    assert set(COUNTS) == {"train", "calibration", "search", "test"}
