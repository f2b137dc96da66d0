from pathlib import Path

import numpy as np
import pytest
import torch

from dse.errors import EvaluationError, SpecError, UnknownNameError
from evaluators.registry import Places
from tests.evaluators.models.exports import export
from tests.evaluators.workloads.file_sets import add, write_files

pytestmark = pytest.mark.slow


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
