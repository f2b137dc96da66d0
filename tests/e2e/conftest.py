import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

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
