import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.ports import silent
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.registry import Places, make_workload
from evaluators.workloads import reading, shelf
from evaluators.workloads.files import Examined, FileWorkload, file_names, file_workload
from evaluators.workloads.reading import Files, examine, read_files
from evaluators.workloads.shelf import add_files, remove_files
from tests.evaluators.models.exports import Mlp, Residual, Vit, export
from tests.evaluators.workloads.file_sets import write_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    return write_files(tmp_path_factory.mktemp("given"), Mlp(), (6,), train=True)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(home=tmp_path / "home")


def add(
    places: Places,
    given: dict[str, Path],
    *,
    name: str = "own",
    metric: str = "top1-error",
    replace: bool = False,
) -> tuple[FileWorkload, Examined]:
    splits = [part for part in given if part != "model"]

    def examined(folder: Path, told: dict[str, str]) -> Examined:
        return examine(name, folder, metric, splits, places, told, silent)

    return add_files(name, given, metric=metric, replace=replace, places=places, examine=examined)


def test_an_added_workload_is_found_by_name(places: Places, given: dict[str, Path]) -> None:
    added, examined = add(places, given)

    found = make_workload("own", {}, places)
    assert file_names(places) == ["own"]
    assert isinstance(found, FileWorkload)
    assert found.manifest == added.manifest
    assert found.shape.names == ("layers.0", "layers.3")
    assert found.trainable
    assert examined.errors == {"search": 10.0, "test": 10.0}
    assert examined.samples == dict.fromkeys(("calibration", "search", "test", "train"), 150)


def test_a_shape_needs_no_file_but_the_manifest(places: Places, given: dict[str, Path]) -> None:
    added, _ = add(places, given)
    for path in (places.workloads / "own").iterdir():
        if path.name != "workload.json":
            path.unlink()

    found = file_workload("own", places)

    assert found is not None
    assert found.shape == added.shape


@pytest.mark.parametrize("make", [Residual, Vit])
def test_quantized_at_8_bits_errors_stay_near_float(
    tmp_path: Path, places: Places, make: type[torch.nn.Module]
) -> None:
    torch.manual_seed(0)
    network, examined = add(places, write_files(tmp_path, make(), (1, 8, 8)))

    network.prepare(silent)
    request = Request(
        key="",
        choices={knob: dict.fromkeys(network.shape.names, 8) for knob in ("w_bits", "a_bits")},
        arithmetic={},
        split="search",
        timeout_s=60.0,
    )
    evaluator = AccuracyEvaluator(network)
    found = evaluator.evaluate(request)
    plain = evaluator.evaluate(replace(request, choices=None))

    assert plain["error"] == examined.errors["search"]
    assert abs(found["error"] - plain["error"]) <= 6.0  # of an untrained network
    assert evaluator.evaluate(request) == found


def test_training_batches_cover_every_sample_in_another_order(
    places: Places, given: dict[str, Path]
) -> None:
    network, _ = add(places, given)
    network.prepare(silent)
    lessons = network.lessons(silent)

    batches = lessons.batches(np.random.default_rng(1))
    first, second = ([next(batches) for _ in range(3)] for _ in range(2))
    again = lessons.batches(np.random.default_rng(1))

    assert [len(x) for x, _ in first] == [64, 64, 22]
    assert torch.equal(next(again)[0], first[0][0])
    assert not torch.equal(first[0][0], second[0][0])
    xs = [torch.cat([x for x, _ in epoch]).sort(0).values for epoch in (first, second)]
    assert torch.equal(*xs)
    loss = lessons.loss(network.model(), first[0], torch.Generator())
    assert loss.requires_grad


def test_models_do_not_share_weights(places: Places, given: dict[str, Path]) -> None:
    network, examined = add(places, given)
    network.prepare(silent)

    with torch.no_grad():
        network.model().get_parameter("layers.0.weight").zero_()

    assert network.measure(network.model(), "search")["error"] == examined.errors["search"]


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


def test_parameters_are_refused(places: Places, given: dict[str, Path]) -> None:
    add(places, given)

    with pytest.raises(SpecError, match="'own' takes no parameters, got 'seed'"):
        make_workload("own", {"seed": 1}, places)


@pytest.mark.parametrize(
    ("part", "arrays", "told"),
    [
        ("search", {"x": np.zeros((3, 6), np.float32)}, "se.npz lacks array 'y'"),
        ("calibration", {"y": np.zeros(3)}, "ca.npz lacks array 'x'"),
        ("test", {"x": np.zeros((3, 6), "f4"), "y": np.zeros(2, int)}, "te.npz .*3 of x, 2 of y"),
        (
            "test",
            {"x": np.zeros((3, 5), "f4"), "y": np.zeros(3, int)},
            r"te.npz: x must have shape \(batch, 6\) as exported, got \(3, 5\)",
        ),
        (
            "test",
            {"x": np.zeros(3, "f4"), "y": np.zeros(3, int)},
            r"te.npz: x must have shape \(batch, 6\) as exported, got \(3,\)",
        ),
        (
            "search",
            {"x": np.zeros((3, 6), int), "y": np.zeros(3, int)},
            "se.npz: x must be floating point, as the model takes torch.float32, got int64",
        ),
        (
            "search",
            {"x": np.zeros((3, 6), "f4"), "y": np.zeros(3)},
            "se.npz: y must be classes, integers, for top1-error, got float64",
        ),
        (
            "train",
            {"x": np.zeros((3, 6), "f4"), "y": np.full(3, 4)},
            "tr.npz: y must be classes 0 .. 3, as many as the model has outputs, got 4 .. 4",
        ),
    ],
)
def test_data_that_do_not_go_with_the_model_are_named(
    tmp_path: Path,
    places: Places,
    given: dict[str, Path],
    part: str,
    arrays: dict[str, np.ndarray],
    told: str,
) -> None:
    path = tmp_path / given[part].name
    np.savez(path, **arrays)  # type: ignore[arg-type]

    with pytest.raises(SpecError, match=told):
        add(places, given | {part: path})


def test_float64_inputs_are_taken_as_the_model_wants_them(
    tmp_path: Path, places: Places, given: dict[str, Path]
) -> None:
    with np.load(given["search"]) as held:
        np.savez(tmp_path / "wide.npz", x=held["x"].astype(float), y=held["y"].astype("u1"))

    _, examined = add(places, given | {"search": tmp_path / "wide.npz"})

    assert examined.errors["search"] == 10.0


def regression(folder: Path, given: dict[str, Path], **ys: np.ndarray) -> dict[str, Path]:
    """Return the files with targets (150, 4) in each labelled split; `ys`: split -> others."""
    found = dict(given)
    for split in ("search", "test", "train"):
        found[split] = folder / f"{split}.npz"
        with np.load(given[split]) as held:
            x = held["x"]
        y = ys.get(split, np.zeros((len(x), 4), np.float32))
        np.savez(found[split], x=np.resize(x, (len(y), 6)), y=y)
    return found


@pytest.mark.parametrize(
    "y", [np.full((3, 4), 1e300), np.full((3, 4), np.longdouble("1e4000"))], ids=["f8", "f16"]
)
def test_targets_that_are_infinite_as_they_are_used_are_refused(
    tmp_path: Path, places: Places, given: dict[str, Path], y: np.ndarray
) -> None:
    told = "test.npz: y must hold values that torch.float32 can hold.* from 1e.* to 1e"

    with pytest.raises(SpecError, match=told):
        add(places, regression(tmp_path, given, test=y), metric="mse")


def test_targets_beyond_signed_integers_keep_their_sign(
    tmp_path: Path, places: Places, given: dict[str, Path]
) -> None:
    large = np.full((3, 4), 2**63, np.uint64)

    _, plus = add(places, regression(tmp_path, given, test=large), metric="mse")

    assert plus.errors["test"] == pytest.approx(2.0**126, rel=1e-6)


class Tokens(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x.to(torch.float32))
        return found


@pytest.mark.parametrize("value", [2**31, 2**40 + 1, -(2**31) - 1])
def test_integers_that_the_model_cannot_take_are_refused(
    tmp_path: Path, places: Places, value: int
) -> None:
    export(Tokens().eval(), torch.zeros(3, 6, dtype=torch.int32), tmp_path / "m.pt2")
    files = {"model": tmp_path / "m.pt2"}
    for split in ("calibration", "search", "test"):
        files[split] = tmp_path / f"{split}.npz"
        np.savez(files[split], x=np.ones((5, 6), np.int64), y=np.zeros(5, int))
    add(places, files)
    np.savez(files["test"], x=np.full((5, 6), value), y=np.zeros(5, int))

    with pytest.raises(SpecError, match="test.npz: x must hold values that torch.int32 can hold"):
        add(places, files, name="wrapped")


@pytest.mark.parametrize("shape", [(150,), (150, 1)])
def test_training_targets_of_another_shape_are_refused(
    tmp_path: Path, places: Places, given: dict[str, Path], shape: tuple[int, ...]
) -> None:
    add(places, regression(tmp_path, given), metric="mse", name="fits")

    with pytest.raises(EvaluationError, match="train batch 0: mse needs .* one shape"):
        add(places, regression(tmp_path, given, train=np.zeros(shape)), metric="mse")


class Squares(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x * x)
        return found


@pytest.mark.parametrize(
    ("split", "begin", "told"),
    [
        ("calibration", 64, "calibration batch 1"),
        ("calibration", 149, "calibration batch 2"),
        ("train", 0, "train batch 0"),
        ("train", 149, "train batch 2"),
    ],
)
def test_calibration_and_training_batches_that_overflow_are_refused_when_added(
    tmp_path: Path, places: Places, split: str, begin: int, told: str
) -> None:
    files = write_files(tmp_path, Squares(), (6,), train=True)
    with np.load(files[split]) as held:
        arrays = dict(held)
    arrays["x"][begin] = 1e30
    np.savez(files[split], **arrays)

    with pytest.raises(EvaluationError, match=f"{told}: .*not finite"):
        add(places, files)


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


def test_unknown_metrics_are_refused(places: Places, given: dict[str, Path]) -> None:
    with pytest.raises(UnknownNameError, match="'accuracy'; allowed: top1-error, top5-error, mse"):
        add(places, given, metric="accuracy")


def test_targets_of_another_shape_are_refused(places: Places, given: dict[str, Path]) -> None:
    with pytest.raises(EvaluationError, match="mse needs outputs and targets of one shape"):
        add(places, given, metric="mse")


class Mixing(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x - x.mean(0))
        return found


def test_samples_that_depend_on_their_batch_are_refused(tmp_path: Path, places: Places) -> None:
    files = write_files(tmp_path, Mixing(), (6,))

    with pytest.raises(SpecError, match="m.pt2: a sample's output depends on the rest"):
        add(places, files)


def test_a_home_may_be_moved(places: Places, given: dict[str, Path]) -> None:
    network, _ = add(places, given)
    moved = Places(home=places.home.rename(places.home.with_name("moved")))

    found = make_workload("own", {}, moved)

    assert isinstance(found, FileWorkload)
    found.prepare(silent)
    assert found.digest == network.digest
