"""Pictures of several digits on a textured ground, with the class of every pixel."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from evaluators.data.images import Images, resized

SCENE_SIDE: Final = 64
CLASSES: Final = 11
"""The ground, 0, and the digits, each one above its value."""

RECIPE: Final = "scenes 1"

COUNTS: Final = {"train": 5000, "calibration": 32, "search": 150, "test": 150}
_SEED: Final = 64
_DIGITS: Final = (2, 5)
_SIDES: Final = (20, 36)
_WAVES: Final = (3, 6)
_MOST_CYCLES: Final = 6.0
_GROUND: Final = (0.05, 0.45)
_INK: Final = (0.7, 1.0)
_NOISE: Final = 0.05
# of that many places a digit takes the one that hides the least of others
_PLACES: Final = 8

Array = NDArray[np.float64]


def compose(splits: Mapping[str, Images], counts: Mapping[str, int] = COUNTS) -> dict[str, Images]:
    """Return so many scenes of the digits of each split: pixels (n, 64, 64), labels likewise.

    Splits share no digit if theirs share none, and no texture.
    """
    return {
        name: _scenes(images, counts[name], np.random.default_rng([_SEED, number]))
        for number, (name, images) in enumerate(sorted(splits.items()))
    }


def _scenes(images: Images, count: int, random: np.random.Generator) -> Images:
    pixels = np.empty((count, SCENE_SIDE, SCENE_SIDE), dtype=np.uint8)
    labels = np.empty_like(pixels)
    for i in range(count):
        scene, labels[i] = _scene(images, random)
        pixels[i] = np.floor(255 * np.clip(scene, 0, 1) + 0.5)
    return Images(pixels=torch.from_numpy(pixels), labels=torch.from_numpy(labels))


def _scene(images: Images, random: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    scene = _ground(random)
    labels = np.zeros(scene.shape, dtype=np.uint8)
    for _ in range(int(random.integers(*_DIGITS, endpoint=True))):
        one = int(random.integers(len(images)))
        side = int(random.integers(*_SIDES, endpoint=True))
        opacity = resized(images.pixels[one].numpy() / 255.0, side)
        drawn = opacity >= 0.5
        place = _place(labels, drawn, random)
        scene[place] += opacity * (random.uniform(*_INK) - scene[place])
        labels[place][drawn] = 1 + int(images.labels[one])
    return scene + random.normal(0.0, _NOISE, scene.shape), labels


def _ground(random: np.random.Generator) -> Array:
    """A sum of waves of random direction, length and phase, between two random levels."""
    y, x = np.mgrid[:SCENE_SIDE, :SCENE_SIDE] / SCENE_SIDE
    ground = np.zeros(x.shape)
    for _ in range(int(random.integers(*_WAVES, endpoint=True))):
        across, down = random.uniform(-_MOST_CYCLES, _MOST_CYCLES, size=2)
        phase = random.uniform(0, 2 * np.pi)
        ground += random.uniform(0.3, 1.0) * np.sin(2 * np.pi * (across * x + down * y) + phase)
    low, high = sorted(random.uniform(*_GROUND, size=2))
    return np.asarray(low + (high - low) * (ground - ground.min()) / np.ptp(ground))


def _place(
    labels: NDArray[np.uint8], drawn: NDArray[np.bool_], random: np.random.Generator
) -> tuple[slice, slice]:
    side = len(drawn)
    corners = random.integers(SCENE_SIDE - side, size=(_PLACES, 2), endpoint=True).tolist()
    places = [(slice(y, y + side), slice(x, x + side)) for y, x in corners]
    return min(places, key=lambda place: int(np.count_nonzero(labels[place][drawn])))
