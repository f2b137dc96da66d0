import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dse.errors import SpecError
from evaluators.data.images import Images, pack, resized, split, unpack


def numbered(count: int) -> Images:
    """Pictures that can be told apart: each one's pixels spell its number."""
    pixels = torch.zeros(count, 28, 28, dtype=torch.uint8)
    pixels[:, 0, 0] = torch.arange(count) % 256
    pixels[:, 0, 1] = torch.arange(count) // 256
    return Images(pixels=pixels, labels=torch.arange(count) % 10)


def numbers(images: Images) -> set[int]:
    return set((images.pixels[:, 0, 0].int() + 256 * images.pixels[:, 0, 1].int()).tolist())


@pytest.mark.parametrize("side", [8, 20, 28, 36])
def test_resizing_is_bilinear_as_torch_has_it(side: int) -> None:
    pictures = np.random.default_rng(0).random((3, 8, 8))

    found = resized(pictures, side)

    expected = interpolate(
        torch.from_numpy(pictures)[None], size=(side, side), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(found, expected[0].numpy(), atol=1e-9)


@pytest.mark.parametrize("count", [100, 1797])
def test_splits_are_disjoint_and_leave_nothing_out(count: int) -> None:
    splits = split(numbered(count), None)

    parts = {name: numbers(images) for name, images in splits.items()}
    assert set(parts) == {"train", "calibration", "search", "test"}
    assert sum(map(len, parts.values())) == count
    assert set.union(*parts.values()) == set(range(count))
    assert len(splits["search"]) == len(splits["test"]) == count // 5
    assert len(splits["calibration"]) == min(64, count // 10)


def test_splits_are_the_same_every_time() -> None:
    first, second = (split(numbered(200), None) for _ in range(2))

    assert all(torch.equal(first[name].pixels, second[name].pixels) for name in first)


def test_test_set_of_the_authors_is_the_only_source_of_test_pictures() -> None:
    own = Images(
        pixels=torch.full((30, 28, 28), 255, dtype=torch.uint8), labels=torch.zeros(30).long()
    )

    splits = split(numbered(200), own)

    assert len(splits["test"]) == 30
    assert bool((splits["test"].pixels == 255).all())
    assert sum(len(splits[name]) for name in ("train", "calibration", "search")) == 200


def test_held_out_pictures_are_2000_at_most() -> None:
    splits = split(numbered(12_000), numbered(2_500))

    assert len(splits["search"]) == len(splits["test"]) == 2000
    assert len(splits["train"]) == 12_000 - 2000 - 64


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(SpecError, match="at least 100 pictures of digits are needed, got 99"):
        split(numbered(99), None)


def test_unpacking_gives_what_was_packed() -> None:
    splits = split(numbered(100), None)

    found = unpack(pack(splits))

    assert list(found) == list(splits)
    for name, images in splits.items():
        assert torch.equal(found[name].pixels, images.pixels)
        assert found[name].labels.tolist() == images.labels.tolist()
