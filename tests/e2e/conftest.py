import shutil
from collections.abc import Callable
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
def empty_home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def warm_home(tmp_path: Path, reference: Reference) -> Callable[[str], Home]:
    """Make homes that hold the corpus and the trained network, but no database."""

    def make(name: str) -> Home:
        home = Home(tmp_path / name)
        shutil.copytree(reference.home.folder / "cache", home.folder / "cache")
        return home

    return make
