"""Files of packages that carry weights or data: read where they are installed, never imported."""

import hashlib
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import final

from dse.errors import SpecError


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DataPackage:
    """A package of which only files are wanted; `data-packages.txt` pins it.

    Attributes:
        name: of the distribution, as pip takes it.
        module: its top-level folder.
    """

    name: str
    version: str
    module: str

    @property
    def missing(self) -> str | None:
        """What is wrong with the installed package, and the command that mends it; None: nothing.

        A folder without a distribution's record is taken as it is: its files tell by their hash
        whether they are the right ones.
        """
        if self.folder is None:
            return f"package {self.name} {self.version}, which is not installed: {self.command}"
        installed = self._installed
        if installed not in (None, self.version):
            return f"package {self.name} {self.version}, got version {installed}: {self.command}"
        return None

    @property
    def folder(self) -> Path | None:
        """Where it is installed; None: it is not."""
        # Of a top-level name the spec is found without running any of the package's code.
        found = find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            return None
        return Path(found.submodule_search_locations[0])

    @property
    def command(self) -> str:
        return f"pip install --no-deps {self.name}=={self.version}"

    @property
    def _installed(self) -> str | None:
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file in a package.

    Attributes:
        path: below the package's folder.
        sha256: of its content (hex).
    """

    package: DataPackage
    path: str
    sha256: str

    @property
    def missing(self) -> str | None:
        """What the user must install before the file can be read; None: nothing."""
        if (told := self.package.missing) is not None:
            return told
        if not self._place.is_file():
            return f"file {self.path} of {self._spoken}: {self._again}"
        return None

    def read(self) -> bytes:
        """Return the file's content.

        Raises:
            SpecError: its package is missing or of another version, or the file is missing,
                altered or cannot be read.
        """
        if (told := self.missing) is not None:
            raise SpecError(f"cannot do without {told}")
        try:
            content = self._place.read_bytes()
        except OSError as error:
            raise SpecError(f"cannot read {self._place}: {error.strerror}") from error
        found = hashlib.sha256(content).hexdigest()
        if found != self.sha256:
            raise SpecError(
                f"file {self.path} of {self._spoken} must have SHA-256 {self.sha256}, got "
                f"{found}: {self._again}"
            )
        return content

    @property
    def _place(self) -> Path:
        folder = self.package.folder
        assert folder is not None
        return folder / self.path

    @property
    def _spoken(self) -> str:
        return f"package {self.package.name} {self.package.version}"

    @property
    def _again(self) -> str:
        return f"{self.package.command} --force-reinstall"


def needed(*files: DataFile) -> str | None:
    """Return what the user must install before all these files can be read, as `needs` of a
    workload tells it; None: nothing."""
    told = dict.fromkeys(file.missing for file in files)
    lines = [one for one in told if one is not None]
    return "; ".join([*lines, "costs can be had without"]) if lines else None
