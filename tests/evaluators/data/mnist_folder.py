"""Folders as those who have MNIST keep it, with pictures made up."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


def made_up(count: int, seed: int = 0) -> tuple[Bytes, Bytes]:
    """Return pictures (count, 28, 28), each a bar whose place tells its digit, and digits."""
    random = np.random.default_rng(seed)
    labels = (np.arange(count) % 10).astype(np.uint8)
    pictures = random.integers(0, 40, size=(count, 28, 28), dtype=np.uint8)
    for picture, label in zip(pictures, labels, strict=True):
        picture[4 + 2 * label : 6 + 2 * label, 6:22] = 255
    return pictures, labels


def idx(array: Bytes) -> bytes:
    """Return an array as an IDX file's content."""
    magic = 2051 if array.ndim == 3 else 2049
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write_idx(
    folder: Path, pictures: Bytes, labels: Bytes, *, name: str = "train", packed: bool = False
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", pictures), ("labels-idx1", labels)):
        content, end = idx(array), ""
        if packed:
            content, end = gzip.compress(content, 1), ".gz"
        (folder / f"{name}-{kind}-ubyte{end}").write_bytes(content)


def write_json(folder: Path, pictures: Bytes, labels: Bytes) -> None:
    """Write the npm package's files: floats of three decimals."""
    folder.mkdir(parents=True, exist_ok=True)
    for digit in range(10):
        ink = (pictures[labels == digit].reshape(-1) / 255).round(3)
        (folder / f"{digit}.json").write_text(json.dumps({"data": ink.tolist()}))
