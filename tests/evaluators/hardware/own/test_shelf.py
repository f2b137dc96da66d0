import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dse.errors import CacheError, SpecError, UnknownNameError
from evaluators.hardware.own import shelf
from evaluators.registry import Places, make_platform, own_platform_names
from tests.evaluators.hardware.own.definitions import constant, data, written


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=tmp_path / "home")


def package(folder: Path, *entries: str, name: str = "chips", **files: str) -> None:
    """Write an installed distribution whose package must never be imported."""
    inner = folder / name
    inner.mkdir(parents=True)
    (inner / "__init__.py").write_text("raise RuntimeError('code was run')")
    for file, text in files.items():
        (inner / f"{file}.yaml").write_text(text)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = "\n".join(entries)
    (info / "entry_points.txt").write_text(f"[beacon_dse.platforms]\n{lines}\n")


def test_an_added_platform_is_known_by_its_name_with_all_that_its_base_said(
    places: Places, tmp_path: Path
) -> None:
    base = written(tmp_path, "family.yaml", name="family")
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nbase: family.yaml\nsummary: own")

    added = shelf.add(path, replace=False, places=places)
    base.unlink()
    path.unlink()

    assert shelf.names(places) == own_platform_names(places) == ["mine"]
    assert make_platform("mine", {}, places) == added
    assert added.definition.summary == "own"
    assert added.params == {"digest": added.definition.digest}
    with pytest.raises(UnknownNameError, match="unknown platform 'mine'"):
        make_platform("mine", {})


def test_a_name_is_taken_until_it_is_replaced_or_removed(places: Places, tmp_path: Path) -> None:
    path = written(tmp_path)
    first = shelf.add(path, replace=False, places=places)
    with pytest.raises(SpecError, match=r"'mine' exists; allowed: another name in .*--replace"):
        shelf.add(path, replace=False, places=places)

    second = shelf.add(written(tmp_path, summary="new"), replace=True, places=places)

    assert shelf.find("mine", {}, places) == second != first
    assert [path.name for path in places.platforms.glob("*")] == ["mine.json"] or (
        {path.name for path in places.platforms.iterdir()} == {".lock", "mine.json"}
    )
    shelf.remove("mine", places)
    assert shelf.names(places) == []
    with pytest.raises(UnknownNameError, match="platform that was added as a file 'mine'"):
        shelf.remove("mine", places)
    with pytest.raises(UnknownNameError, match="unknown platform 'mine'; allowed: bitfusion"):
        shelf.find("mine", {}, places)


def test_names_that_come_along_are_not_taken(places: Places, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'bitfusion' comes with beacon-dse"):
        shelf.add(written(tmp_path, name="bitfusion"), replace=True, places=places)


def test_a_digest_says_which_definition_it_must_be(places: Places, tmp_path: Path) -> None:
    added = shelf.add(written(tmp_path), replace=False, places=places)
    digest = added.definition.digest

    assert shelf.find("mine", {"digest": digest}, places) == added
    shelf.add(written(tmp_path, sums=constant(24, "bit")), replace=True, places=places)
    with pytest.raises(SpecError, match=f"another definition here.*asked for is '{digest}'"):
        shelf.find("mine", {"digest": digest}, places)
    with pytest.raises(SpecError, match="takes the parameter digest only.*got mode"):
        shelf.find("mine", {"mode": "fast"}, places)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"value": 8', '"value": 9', 1),
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text[:-20],
        lambda text: "[]",
        lambda text: "{}",
        lambda text: text.replace('"name": "mine"', '"name": "other"'),
        lambda text: text.replace('"name": "mine"', '"nome": "mine"'),
        lambda text: "[" * 5000,
    ],
)
def test_what_was_altered_is_refused_and_says_how_to_go_on(
    places: Places,
    tmp_path: Path,
    change: Callable[[str], str],
) -> None:
    shelf.add(written(tmp_path), replace=False, places=places)
    path = places.platforms / "mine.json"
    path.write_text(change(path.read_text()))

    with pytest.raises(
        SpecError, match=r"(?s)mine.json.*add platform 'mine' again with --replace"
    ):
        shelf.find("mine", {}, places)
    assert shelf.names(places) == ["mine"]


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")

    with pytest.raises(CacheError, match="cannot write below"):
        shelf.add(written(tmp_path), replace=False, places=Places(home=tmp_path / "home"))


def test_a_file_that_is_no_platform_leaves_nothing(places: Places, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"mine\.yaml is no platform"):
        shelf.add(written(tmp_path, sums=constant(0, "bit")), replace=False, places=places)

    assert not places.platforms.exists()


def test_a_package_brings_platforms_without_its_code_being_run(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(
        tmp_path / "site",
        "mine = chips:mine.yaml",
        "based = chips : based.yaml",
        mine=yaml.safe_dump(data()),
        based="base: mine.yaml\nname: based",
    )
    monkeypatch.syspath_prepend(tmp_path / "site")

    found = make_platform("mine", {}, places)

    assert shelf.names(places) == ["based", "mine"]
    assert found.name == "mine"
    assert make_platform("based", {}, places).knobs == found.knobs
    assert "chips" not in sys.modules
    with pytest.raises(SpecError, match=r"'mine' is one of chips 1\.0: give yours another name"):
        shelf.add(written(tmp_path), replace=True, places=places)


def test_packages_whose_platforms_cannot_be_used_are_named(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(
        tmp_path / "site",
        "broken = chips:broken.yaml",
        "renamed = chips:good.yaml",
        "missing = chips.inner:none.yaml",
        "code = chips:make",
        "away = no_such_package_here:some.yaml",
        broken="name: broken",
        good=yaml.safe_dump(data(name="good")),
    )
    monkeypatch.syspath_prepend(tmp_path / "site")

    for name, told in (
        ("broken", r"platform 'broken' of chips 1\.0: .*broken\.yaml is no platform"),
        ("renamed", "its file says name: good; both must be the same"),
        ("missing", "cannot read platform file .*none.yaml"),
        ("code", "must name a YAML file, 'package:file.yaml', got 'chips:make'"),
        ("away", "names no package that is installed"),
    ):
        with pytest.raises(SpecError, match=told):
            shelf.find(name, {}, places)


def test_a_name_that_two_offer_is_nobodys(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.add(written(tmp_path), replace=False, places=places)
    package(tmp_path / "site", "mine = chips:mine.yaml", mine=json.dumps(data()))
    monkeypatch.syspath_prepend(tmp_path / "site")

    with pytest.raises(SpecError, match=r"offered more than once: by chips 1\.0, DSE_HOME"):
        shelf.find("mine", {}, places)
    assert shelf.names(places) == ["mine"]
