"""Arrays of a .npz file that somebody else has made."""

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dse.errors import SpecError

MOST_BYTES: Final = 4 * 2**30

# what reading a zip archive raises, beside OSError, if it is none or damaged
_BROKEN: Final = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(struct.error, ValueError, OverflowError, NotImplementedError),
    *(RuntimeError, KeyError),  # encrypted; a name that differs from the directory's
)

Array = NDArray[np.generic]
_HEADERS: Final = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}


def read_arrays(path: Path, keys: Sequence[str], *, told: str) -> Mapping[str, Array]:
    """Return the arrays called `keys`, of numbers, all finite and of one length.

    Args:
        told: the file's name in messages.

    Raises:
        SpecError: the file is no .npz, too large, or lacks an array; an array is empty, of
            objects or texts, not finite or of another length. The message names file and key.
    """
    try:
        with zipfile.ZipFile(path) as file:
            infos = {info.filename.removesuffix(".npy"): info for info in file.infolist()}
            total = sum(info.file_size for info in infos.values())
            if total > MOST_BYTES:
                raise SpecError(f"{told} unpacks to {total} bytes; allowed: {MOST_BYTES}")
            missing = [key for key in keys if key not in infos]
            if missing:
                held = ", ".join(map(repr, sorted(infos))) or "nothing"
                raise SpecError(f"{told} lacks array {missing[0]!r}; it holds: {held}")
            arrays = {key: _array(file, infos[key], f"{told}: {key}") for key in keys}
    except SpecError:
        raise
    except OSError as error:
        raise SpecError(f"cannot read {told}: {error.strerror or error}") from error
    except _BROKEN as error:
        raise SpecError(f"{told} is no .npz file as np.savez writes it ({error})") from error
    lengths = {key: len(array) for key, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counted = ", ".join(f"{length} of {key}" for key, length in lengths.items())
        raise SpecError(f"{told} must hold as many samples in each array, got {counted}")
    return arrays


def _array(file: zipfile.ZipFile, info: zipfile.ZipInfo, told: str) -> Array:
    try:
        with file.open(info) as content:
            shape, dtype = _header(content)
            # what the header promises is allocated before it is read
            promised = math.prod(shape) * dtype.itemsize
            if dtype.hasobject or dtype.kind not in "biuf":
                raise SpecError(f"{told} is of dtype {dtype}; allowed: numbers")
            if promised > info.file_size:
                raise SpecError(f"{told} says it has shape {shape}, which the file does not hold")
        with file.open(info) as content:
            array: Array = npy.read_array(content, allow_pickle=False)
    except SpecError:
        raise
    except (TypeError, SyntaxError, *_BROKEN) as error:
        raise SpecError(f"{told} is no array as np.savez writes it ({error})") from error
    if array.ndim == 0 or array.size == 0:
        raise SpecError(f"{told} must have shape (samples, …), got {array.shape}")
    if not np.isfinite(array).all():
        raise SpecError(f"{told} must be finite, got NaN or infinity")
    return np.ascontiguousarray(array, dtype.newbyteorder("="))


def _header(content: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = npy.read_magic(content)
    if version not in _HEADERS:
        raise ValueError(f"version {version}")
    shape, _, dtype = _HEADERS[version](content)
    return shape, dtype
