import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from benchmarks.faults import undisturbed
from tests.e2e.runs import Home


@dataclass(frozen=True, slots=True)
class Reference:
    """A run that nothing disturbed, from an empty home, in one process.

    Attributes:
        measured: (key, metrics) of all that it measured.
    """

    home: Home
    document: dict[str, Any]
    measured: list[tuple[Any, ...]]


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    home = Home(tmp_path_factory.mktemp("reference") / "home")
    return Reference(home=home, document=home.run(processes=1), measured=home.measured())


@pytest.fixture(scope="session")
def undisturbed_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("undisturbed")


@pytest.fixture(scope="session")
def undisturbed_job(undisturbed_folder: Path) -> dict[str, Any]:
    """The document of `benchmarks.faults.spec(1)`, run by itself."""
    return undisturbed(undisturbed_folder, 1)


@pytest.fixture
def service_home(
    tmp_path: Path, undisturbed_folder: Path, undisturbed_job: dict[str, Any]
) -> Path:
    """A home with the corpus and the trained network of that job, but no database."""
    shutil.copytree(undisturbed_folder / "cache", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def empty_home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path / "home")
    yield home
    home.end()


@pytest.fixture
def warm_home(tmp_path: Path, reference: Reference) -> Iterator[Callable[[str], Home]]:
    """Make homes that hold the corpus and the trained network, but no database."""
    homes: list[Home] = []

    def make(name: str) -> Home:
        home = Home(tmp_path / name)
        shutil.copytree(reference.home.folder / "cache", home.folder / "cache")
        homes.append(home)
        return home

    yield make
    for home in homes:
        home.end()
