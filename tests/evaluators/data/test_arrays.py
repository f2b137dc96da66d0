import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dse.errors import SpecError
from evaluators.data import arrays
from evaluators.data.arrays import read_arrays


class Touch:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self._path,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", np.uint8, np.int64])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_in_native_order(tmp_path: Path, save: object, dtype: object) -> None:
    assert callable(save)
    x = np.arange(12).reshape(3, 4).astype(dtype)  # type: ignore[call-overload]
    save(tmp_path / "d.npz", x=x, y=np.arange(3), other=np.zeros(1))

    found = read_arrays(tmp_path / "d.npz", ["x", "y"], told="d.npz")

    assert found.keys() == {"x", "y"}
    assert np.array_equal(found["x"], x)
    assert found["x"].dtype.isnative


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({"x": np.zeros((2, 3))}, "d.npz lacks array 'y'; it holds: 'x'"),
        ({"x": np.zeros((2, 3)), "y": np.zeros(3)}, "2 of x, 3 of y"),
        ({"x": np.zeros((2, 3)), "y": np.array([1.0, np.nan])}, "d.npz: y must be finite"),
        ({"x": np.full((2, 3), np.inf), "y": np.zeros(2)}, "d.npz: x must be finite"),
        ({"x": np.zeros((0, 3)), "y": np.zeros(0)}, r"x must have shape \(samples"),
        ({"x": np.float32(1), "y": np.zeros(1)}, r"x must have shape \(samples"),
        ({"x": np.array(["a", "b"]), "y": np.zeros(2)}, "d.npz: x is of dtype <U1"),
        ({"x": np.zeros((2, 3), complex), "y": np.zeros(2)}, "d.npz: x is of dtype complex128"),
    ],
)
def test_arrays_that_cannot_be_used_are_named(
    tmp_path: Path, held: dict[str, np.ndarray], told: str
) -> None:
    np.savez(tmp_path / "d.npz", **held)  # type: ignore[arg-type]

    with pytest.raises(SpecError, match=told):
        read_arrays(tmp_path / "d.npz", ["x", "y"], told="d.npz")


def test_object_arrays_run_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    bad = np.empty(1, object)
    bad[0] = Touch(marker)
    np.savez(tmp_path / "d.npz", x=bad)

    with pytest.raises(SpecError, match="d.npz: x is of dtype object"):
        read_arrays(tmp_path / "d.npz", ["x"], told="d.npz")

    assert not marker.exists()


def test_a_shape_that_the_file_does_not_hold_is_refused_unread(tmp_path: Path) -> None:
    content = io.BytesIO()
    np.save(content, np.zeros(4))
    lying = content.getvalue().replace(b"(4,)", b"(4000000000000,)").replace(b" " * 12, b"", 1)
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file:
        file.writestr("x.npy", lying)

    with pytest.raises(SpecError, match="which the file does not hold"):
        read_arrays(tmp_path / "d.npz", ["x"], told="d.npz")


def test_bombs_are_refused_by_their_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MOST_BYTES", 1000)
    np.savez_compressed(tmp_path / "d.npz", x=np.zeros(1000))

    with pytest.raises(SpecError, match="unpacks to 8128 bytes; allowed: 1000"):
        read_arrays(tmp_path / "d.npz", ["x"], told="d.npz")


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x93NUMPY"])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "d.npz").write_bytes(content)

    with pytest.raises(SpecError, match="d.npz is no .npz file"):
        read_arrays(tmp_path / "d.npz", ["x"], told="d.npz")


def test_an_array_that_is_none_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "d.npz", "w") as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\x00\x08\x00{'a': 1}")

    with pytest.raises(SpecError, match="d.npz: x is no array"):
        read_arrays(tmp_path / "d.npz", ["x"], told="d.npz")
