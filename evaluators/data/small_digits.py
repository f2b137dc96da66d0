"""The 1,797 digits of 8 x 8 pixels that come with scikit-learn, enlarged to 28 x 28.

They are read from the package's file: importing scikit-learn would load scipy for a table.
"""

import gzip
import hashlib
import zlib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import torch

from dse.errors import SpecError
from dse.ports import Progress
from evaluators.data.images import SIDE, Images, resized

_PACKAGE: Final = "sklearn"
_FILE: Final = Path("datasets/data/digits.csv.gz")
# of the table itself: packages may be compressed anew
_SHA256: Final = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
_INSTALL: Final = "pip install 'beacon-dse[digits]'"
_SMALL: Final = 8
_INK: Final = 16
_RECIPE: Final = 1


class SmallDigits:
    """scikit-learn's digits; fulfils `evaluators.data.images.Source`."""

    def identity(self) -> dict[str, object]:
        return {"digits": _SHA256, "recipe": _RECIPE}

    def missing(self) -> str | None:
        try:
            _file()
        except SpecError as error:
            return str(error)
        return None

    def read(self, progress: Progress) -> tuple[Images, None]:
        """Read and enlarge the digits.

        Raises:
            SpecError: scikit-learn is not installed, or its file is another than was known here.
        """
        rows = np.array(
            [line.split(",") for line in _table(_file()).decode().split()], dtype=np.uint8
        )
        small = rows[:, :-1].reshape(-1, _SMALL, _SMALL)
        ink = resized(small.astype(np.float64) * (255 / _INK), SIDE)
        images = Images(
            pixels=torch.from_numpy(np.floor(ink + 0.5).astype(np.uint8)),
            labels=torch.from_numpy(rows[:, -1].astype(np.int64)),
        )
        progress("reading digits", 1, 1)
        return images, None


def _file() -> Path:
    found = find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SpecError(
            f"the digits of package scikit-learn, which is not installed: {_INSTALL}; costs can "
            "be had without"
        )
    path = Path(found.submodule_search_locations[0]) / _FILE
    if not path.is_file():
        raise SpecError(
            f"{_told()} must hold {_FILE}, which it does not: {_INSTALL}; costs can be had without"
        )
    return path


def _table(path: Path) -> bytes:
    try:
        table = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise SpecError(f"{_told()}: cannot read {_FILE}: {error}") from error
    found = hashlib.sha256(table).hexdigest()
    if found != _SHA256:
        raise SpecError(f"{_told()}: {_FILE} must have SHA-256 {_SHA256}, got {found}: {_INSTALL}")
    return table


def _told() -> str:
    try:
        return f"package scikit-learn {metadata.version('scikit-learn')}"
    except metadata.PackageNotFoundError:
        return "package scikit-learn"
