"""Workloads that were added as files: an exported program, its data, and a manifest.

What a list, a check or a cost needs stands in the manifest; the network is loaded to be measured.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, final

from pydantic import BaseModel, ConfigDict, ValidationError

from dse.design import NetworkShape, Value, content_hash
from dse.errors import SpecError, UnknownNameError
from dse.ports import Progress
from evaluators.registry import Places

if TYPE_CHECKING:
    from torch import Tensor, nn

    from evaluators.network import Lessons, Trainable

MANIFEST: Final = "workload.json"
VERSION: Final = 1
"""Raised whenever the same files would be read as another network."""

MODEL: Final = "model.pt2"
SPLITS: Final = ("calibration", "search", "test", "train")

_MOST_MANIFEST_BYTES: Final = 16 * 2**20


class Manifest(BaseModel):
    """What is known of a workload without loading its network.

    Attributes:
        files: name in the workload's folder -> SHA-256 (hex).
        samples: split -> how many.
        floats: matrix products that stay in float, as "module path: operation".
        digest: over all of the above and the version.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = VERSION
    metric: str
    files: Mapping[str, str]
    samples: Mapping[str, int]
    shape: NetworkShape
    floats: tuple[str, ...]
    digest: str = ""

    def sealed(self) -> "Manifest":
        """Return it with its digest."""
        told = self.model_dump(mode="json", exclude={"digest"})
        return self.model_copy(update={"digest": content_hash(told)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What was found in files when their network was run.

    Attributes:
        errors: split -> the float network's error; the others as of `Manifest`.
    """

    shape: NetworkShape
    floats: tuple[str, ...]
    samples: Mapping[str, int]
    errors: Mapping[str, float]


def file_names(places: Places) -> list[str]:
    """Return the names of the workloads that were added as files."""
    found = places.workloads.glob(f"[!.]*/{MANIFEST}")
    return sorted(path.parent.name for path in found)


def file_workload(name: str, places: Places) -> "FileWorkload | None":
    """Return the workload that was added as `name`; None: there is none.

    Raises:
        SpecError: its manifest is altered, damaged or of another version.
    """
    folder = places.workloads / name
    if name not in file_names(places):
        return None
    return FileWorkload(name, read_manifest(name, folder), folder=folder, places=places)


def read_manifest(name: str, folder: Path) -> Manifest:
    """Read a workload's manifest.

    Raises:
        SpecError: it is altered, damaged or of another version.
    """
    path = folder / MANIFEST
    again = f"add workload {name!r} again with --replace"
    try:
        if path.stat().st_size > _MOST_MANIFEST_BYTES:
            raise SpecError(f"{path} is larger than {_MOST_MANIFEST_BYTES} bytes: {again}")
        manifest = Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise SpecError(f"{path} is damaged or of another version: {again}") from error
    if manifest.sealed().digest != manifest.digest:
        raise SpecError(f"{path} was altered: {again}")
    return manifest


def file_digest(path: Path) -> str:
    """Return a file's SHA-256 (hex); raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@final
class FileWorkload:
    """Files as a network; fulfils `evaluators.network.Trainable` if training data were given.

    Attributes:
        manifest: what is known without loading anything.
    """

    def __init__(self, name: str, manifest: Manifest, *, folder: Path, places: Places) -> None:
        """Take a workload's folder; nothing is read yet."""
        self.name = name
        self.manifest = manifest
        self._folder = folder
        self._places = places
        self._network: Trainable | None = None

    @property
    def summary(self) -> str:
        return f"added as files; {self.manifest.metric}"

    @property
    def params(self) -> Mapping[str, object]:
        return {}

    @property
    def shape(self) -> NetworkShape:
        return self.manifest.shape

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("error",)

    @property
    def splits(self) -> tuple[str, ...]:
        return ("search", "test")

    @property
    def trainable(self) -> bool:
        return "train" in self.manifest.samples

    @property
    def needs(self) -> None:
        return None

    @property
    def defaults(self) -> Mapping[str, Value]:
        return {}

    @property
    def floats(self) -> tuple[str, ...]:
        return self.manifest.floats

    @property
    def digest(self) -> str:
        return self.manifest.digest

    def prepare(self, progress: Progress) -> None:
        """Check the files and load them. Safe to repeat.

        Raises:
            SpecError: a file is missing or altered, or reads as another network than before.
            EvaluationError: the network does not run.
        """
        if self._network is not None:
            return
        self._check_files()
        from evaluators.workloads.reading import network_of, read_files

        metric = self.manifest.metric
        files = read_files(self._folder, metric, list(self.manifest.samples))
        # they may have been replaced between the look at them and the reading
        self._check_files()
        network = network_of(self.name, files, metric, self._places)
        if network.shape != self.shape:
            raise SpecError(
                f"workload {self.name!r} reads as another network than when it was added: "
                "add it again with --replace"
            )
        network.prepare(progress)
        self._network = network

    def model(self) -> "nn.Module":
        return self._ready.model()

    def calibration(self) -> "Sequence[tuple[Tensor, ...]]":
        return self._ready.calibration()

    def measure(self, model: "nn.Module", split: str) -> dict[str, float]:
        """Return `error`, the metric over all samples of a split; raises as `OwnNetwork`."""
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits)
        return self._ready.measure(model, split)

    def lessons(self, progress: Progress) -> "Lessons":
        return self._ready.lessons(progress)

    @property
    def _ready(self) -> "Trainable":
        assert self._network is not None, "prepare comes first"
        return self._network

    def _check_files(self) -> None:
        for name, digest in self.manifest.files.items():
            self._check(name, digest)

    def _check(self, name: str, digest: str) -> None:
        path = self._folder / name
        try:
            found = file_digest(path)
        except OSError as error:
            raise SpecError(
                f"workload {self.name!r}: cannot read {path}: {error.strerror}"
            ) from error
        if found != digest:
            raise SpecError(
                f"workload {self.name!r}: {path} was altered: its SHA-256 is {found}, "
                f"{digest} when it was added; add the workload again with --replace, or, if "
                "that was done meanwhile, repeat the command"
            )
