import gzip
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits  # type: ignore[import-untyped]

from dse.errors import SpecError
from dse.ports import silent
from evaluators.data import small_digits
from evaluators.data.images import resized
from evaluators.data.small_digits import SmallDigits


def install(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """Have the finder find the package in `folder`, or not at all."""

    def find_spec(name: str) -> ModuleSpec | None:
        assert name == "sklearn"
        if folder is None:
            return None
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        return spec

    monkeypatch.setattr(small_digits, "find_spec", find_spec)


def test_digits_are_those_that_scikit_learn_loads() -> None:
    pictures, labels = load_digits(return_X_y=True)

    images, own_test = SmallDigits().read(silent)

    assert own_test is None
    assert images.labels.tolist() == labels.tolist()
    expected = resized(pictures.reshape(-1, 8, 8) * (255 / 16), 28)
    assert images.pixels.shape == (1797, 28, 28)
    assert np.abs(images.pixels.numpy() - expected).max() <= 0.5 + 1e-9
    assert SmallDigits().missing() is None


def test_without_the_package_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, None)

    message = r"scikit-learn, which is not installed: pip install 'beacon-dse\[digits\]'"
    with pytest.raises(SpecError, match=message):
        SmallDigits().read(silent)
    assert "pip install 'beacon-dse[digits]'" in (SmallDigits().missing() or "")


def test_package_without_the_file_is_named_with_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, tmp_path)

    message = r"package scikit-learn \d[\d.]* must hold datasets/data/digits.csv.gz"
    with pytest.raises(SpecError, match=message):
        SmallDigits().read(silent)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"1,2,3\n", mtime=0), "must have SHA-256 6ebb.*, got "),
        (b"no gzip", "cannot read datasets/data/digits.csv.gz"),
        (gzip.compress(b"1,2,3\n", mtime=0)[:-9], "cannot read datasets/data/digits.csv.gz"),
    ],
)
def test_another_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, message: str
) -> None:
    (tmp_path / "datasets/data").mkdir(parents=True)
    (tmp_path / "datasets/data/digits.csv.gz").write_bytes(content)
    install(monkeypatch, tmp_path)

    with pytest.raises(SpecError, match=message):
        SmallDigits().read(silent)
