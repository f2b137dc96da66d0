"""Labelled pictures of single digits, and their splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dse.errors import SpecError
from dse.ports import Progress

SIDE: Final = 28
"""Pixels of a digit's edge."""

FEWEST: Final = 100
_MOST_HELD_OUT: Final = 2000
_MOST_CALIBRATION: Final = 64
_SPLIT_SEED: Final = 28


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Pictures and what is to be seen on them.

    Attributes:
        pixels: uint8 (n, height, width), ink 255.
        labels: integers (n,), or (n, height, width) where each pixel has one.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def at(self, index: Tensor) -> "Images":
        """Return the pictures at the positions `index`."""
        return Images(pixels=self.pixels[index], labels=self.labels[index])


class Source(Protocol):
    """Where pictures come from."""

    def identity(self) -> dict[str, object]:
        """Return all that the pictures depend on, as JSON data."""

    def missing(self) -> str | None:
        """Return what the user must provide before `read` can work; None: nothing."""

    def read(self, progress: Progress) -> tuple[Images, Images | None]:
        """Return the pictures, and those among them that their authors call the test set, if
        they name one.

        Raises:
            SpecError: a file is missing or not as it must be.
        """


def resized(pictures: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return square pictures (..., n, n) as (..., side, side): bilinear between the centres of
    pixels, constant beyond the outermost ones."""
    before = pictures.shape[-1]
    centres = (np.arange(side) + 0.5) * before / side - 0.5
    distance = np.abs(np.clip(centres, 0, before - 1)[:, None] - np.arange(before))
    weights = np.clip(1 - distance, 0, None)
    # what lies half-way must not be rounded by the order in which a processor adds
    found: NDArray[np.float64] = np.round(weights @ pictures @ weights.T, 9)
    return found


def split(images: Images, own_test: Images | None) -> dict[str, Images]:
    """Return train, calibration, search and test: disjoint, the same for every seed of training.

    Search and test take a fifth of the pictures each, 2,000 at most.

    Args:
        own_test: the only pictures that test may take; None: of `images` as well.

    Raises:
        SpecError: fewer than 100 pictures.
    """
    count = len(images)
    if count < FEWEST:
        raise SpecError(f"at least {FEWEST} pictures of digits are needed, got {count}")
    random = np.random.default_rng(_SPLIT_SEED)
    order = torch.from_numpy(random.permutation(count))
    held_out = min(_MOST_HELD_OUT, count // 5)
    sizes = {"search": held_out, "calibration": min(_MOST_CALIBRATION, count // 10)}
    splits = {}
    if own_test is None:
        sizes["test"] = held_out
    else:
        chosen = torch.from_numpy(random.permutation(len(own_test))[:_MOST_HELD_OUT])
        splits["test"] = own_test.at(chosen)
    taken = 0
    for name, size in sizes.items():
        splits[name] = images.at(order[taken : taken + size])
        taken += size
    return {**splits, "train": images.at(order[taken:])}


def pack(splits: Mapping[str, Images]) -> dict[str, Tensor]:
    """Lay splits out as tensors, `<split>.<field>`; `unpack` is the inverse."""
    return {
        f"{name}.{field}": tensor.contiguous()
        for name, images in splits.items()
        for field, tensor in (
            ("pixels", images.pixels),
            ("labels", images.labels.to(torch.uint8)),
        )
    }


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Images]:
    """Return the splits that `pack` laid out, labels as uint8."""
    names = dict.fromkeys(key.partition(".")[0] for key in tensors)
    return {
        name: Images(pixels=tensors[f"{name}.pixels"], labels=tensors[f"{name}.labels"])
        for name in names
    }
