import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.errors import SpecError, UnknownNameError
from dse.ports import silent
from evaluators.registry import Places, make_workload
from evaluators.workloads import reading, shelf
from evaluators.workloads.files import FileWorkload, file_names, file_workload
from evaluators.workloads.reading import Files, read_files
from evaluators.workloads.shelf import remove_files
from tests.evaluators.workloads.file_sets import add

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["model.pt2", "calibration.npz", "search.npz", "test.npz"])
def test_altered_files_are_refused_by_name(
    places: Places, given: dict[str, Path], name: str
) -> None:
    network, _ = add(places, given)
    path = places.workloads / "own" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(SpecError, match=f"'own'.*{name} was altered"):
        network.prepare(silent)


def test_missing_files_are_refused_by_name(places: Places, given: dict[str, Path]) -> None:
    network, _ = add(places, given)
    (places.workloads / "own" / "test.npz").unlink()

    with pytest.raises(SpecError, match=r"'own': cannot read .*test.npz: No such file"):
        network.prepare(silent)


def test_an_altered_manifest_is_refused(places: Places, given: dict[str, Path]) -> None:
    add(places, given)
    path = places.workloads / "own" / "workload.json"
    told = json.loads(path.read_bytes())
    told["shape"]["layers"][0]["m"] = 7
    path.write_text(json.dumps(told))

    with pytest.raises(SpecError, match="workload.json was altered: add workload 'own' again"):
        file_workload("own", places)


@pytest.mark.parametrize("content", ["", "{}", '{"version": 2}'])
def test_a_damaged_manifest_is_refused(
    places: Places, given: dict[str, Path], content: str
) -> None:
    add(places, given)
    (places.workloads / "own" / "workload.json").write_text(content)

    with pytest.raises(SpecError, match="damaged or of another version"):
        file_workload("own", places)


def test_a_name_is_taken_once(places: Places, given: dict[str, Path]) -> None:
    added, _ = add(places, given)

    with pytest.raises(SpecError, match="'own' exists; allowed: another name, or --replace"):
        add(places, given)
    again, _ = add(places, given, replace=True)

    assert again.digest == added.digest
    assert file_names(places) == ["own"]


@pytest.mark.parametrize("name", ["", "Own", "../own", ".own", "a/b", "a" * 101])
def test_names_that_lead_elsewhere_are_refused(
    places: Places, given: dict[str, Path], name: str
) -> None:
    with pytest.raises(SpecError, match="lower-case letters, digits"):
        add(places, given, name=name)


def test_nothing_is_left_of_what_is_refused(places: Places, given: dict[str, Path]) -> None:
    with pytest.raises(SpecError):
        add(places, given | {"test": given["model"]})

    assert file_names(places) == []
    assert {path.name for path in places.workloads.iterdir()} <= {".lock"}


def test_a_failed_replacement_leaves_the_old_one(places: Places, given: dict[str, Path]) -> None:
    added, _ = add(places, given)

    with pytest.raises(SpecError):
        add(places, given | {"test": given["model"]}, replace=True)

    found = file_workload("own", places)
    assert found is not None
    assert found.digest == added.digest


def test_what_a_killed_replacement_set_aside_comes_back(
    places: Places, given: dict[str, Path]
) -> None:
    add(places, given)
    (places.workloads / "own").rename(places.workloads / ".own.01234567.old")
    shutil.copytree(places.workloads / ".own.01234567.old", places.workloads / ".x.0.tmp")

    add(places, given, name="other")

    assert file_names(places) == ["other", "own"]
    assert {p.name for p in places.workloads.iterdir()} <= {".lock", "other", "own"}


def test_removed_is_removed(places: Places, given: dict[str, Path]) -> None:
    add(places, given)

    remove_files("own", places)

    assert file_names(places) == []
    assert file_workload("own", places) is None
    with pytest.raises(UnknownNameError, match="'own'; allowed: none"):
        remove_files("own", places)


def test_a_linked_workload_is_removed_and_its_target_kept(
    tmp_path: Path, places: Places, given: dict[str, Path]
) -> None:
    add(places, given)
    target = (places.workloads / "own").rename(tmp_path / "elsewhere")
    (places.workloads / "own").symlink_to(target, target_is_directory=True)

    remove_files("own", places)
    add(places, given, name="other")

    assert file_names(places) == ["other"]
    assert {p.name for p in places.workloads.iterdir()} <= {".lock", "other"}
    assert (target / "workload.json").exists()


def test_what_a_killed_removal_set_aside_stays_removed(
    places: Places, given: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(places, given)
    with monkeypatch.context() as killed:
        killed.setattr(shelf, "_sweep", lambda workloads: None)
        remove_files("own", places)

    add(places, given, name="other")

    assert file_names(places) == ["other"]
    assert {p.name for p in places.workloads.iterdir()} <= {".lock", "other"}


def test_files_replaced_while_they_are_read_are_not_taken_for_the_old_ones(
    tmp_path: Path,
    places: Places,
    given: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, _ = add(places, given)
    with np.load(given["test"]) as held:
        np.savez(tmp_path / "other.npz", x=held["x"], y=(held["y"] + 1) % 4)

    def replaced(*told: Any) -> Files:  # Any: whatever `read_files` takes
        monkeypatch.undo()
        add(places, given | {"test": tmp_path / "other.npz"}, replace=True)
        return read_files(*told)

    monkeypatch.setattr(reading, "read_files", replaced)
    with pytest.raises(SpecError, match=r"test.npz was altered.*done meanwhile, repeat"):
        network.prepare(silent)


def test_a_home_may_be_moved(places: Places, given: dict[str, Path]) -> None:
    network, _ = add(places, given)
    moved = Places(home=places.home.rename(places.home.with_name("moved")))

    found = make_workload("own", {}, moved)

    assert isinstance(found, FileWorkload)
    found.prepare(silent)
    assert found.digest == network.digest
