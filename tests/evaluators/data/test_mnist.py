import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from dse.errors import SpecError
from dse.ports import silent
from evaluators.data.mnist import Mnist, read_idx
from tests.evaluators.data.mnist_folder import idx, made_up, write_idx, write_json

PICTURES, LABELS = made_up(120)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", [".", "raw", "MNIST/raw"])
def test_idx_files_are_read_gzipped_or_not(tmp_path: Path, packed: bool, below: str) -> None:
    write_idx(tmp_path / below, PICTURES, LABELS, packed=packed)

    images, own_test = Mnist(tmp_path).read(silent)

    assert own_test is None
    np.testing.assert_array_equal(images.pixels.numpy(), PICTURES)
    np.testing.assert_array_equal(images.labels.numpy(), LABELS)
    assert Mnist(tmp_path).missing() is None


def test_names_with_a_dot_are_known_too(tmp_path: Path) -> None:
    write_idx(tmp_path, PICTURES, LABELS)
    for path in list(tmp_path.iterdir()):
        path.rename(path.with_name(path.name.replace("-idx", ".idx")))

    assert len(Mnist(tmp_path).read(silent)[0]) == 120


def test_test_set_is_apart_where_the_folder_has_it(tmp_path: Path) -> None:
    write_idx(tmp_path, PICTURES, LABELS)
    write_idx(tmp_path, *made_up(30, seed=1), name="t10k")

    images, own_test = Mnist(tmp_path).read(silent)

    assert len(images) == 120
    assert own_test is not None
    np.testing.assert_array_equal(own_test.pixels.numpy(), made_up(30, seed=1)[0])


@pytest.mark.parametrize("below", [".", "src/digits", "package/src/digits"])
def test_json_of_the_npm_package_gives_the_same_pictures(tmp_path: Path, below: str) -> None:
    write_json(tmp_path / below, PICTURES, LABELS)

    images, own_test = Mnist(tmp_path).read(silent)

    order = np.argsort(LABELS, kind="stable")
    assert own_test is None
    np.testing.assert_array_equal(images.pixels.numpy(), PICTURES[order])
    np.testing.assert_array_equal(images.labels.numpy(), LABELS[order])


def test_identity_changes_with_any_file(tmp_path: Path) -> None:
    write_idx(tmp_path, PICTURES, LABELS)
    before = Mnist(tmp_path).identity()

    write_idx(tmp_path, PICTURES, np.roll(LABELS, 1))

    assert Mnist(tmp_path).identity() != before


@pytest.mark.parametrize("made", [False, True])
def test_folder_without_the_files_is_refused(tmp_path: Path, made: bool) -> None:
    folder = tmp_path / "mine"
    if made:
        write_idx(folder, PICTURES, LABELS)
        (folder / "train-labels-idx1-ubyte").unlink()

    message = "DSE_MNIST must be a folder with train-images-idx3-ubyte and .* got .*mine"
    with pytest.raises(SpecError, match=message):
        Mnist(folder).read(silent)
    assert "DSE_MNIST must be a folder" in (Mnist(folder).missing() or "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"magic number 2051 \(pictures\) or 2049 \(labels\), got None"),
        (struct.pack(">II", 2050, 0), "got 2050"),
        (idx(LABELS)[:-1], "must be 128 bytes long by its header, got 127"),
        (idx(LABELS) + b"x", "must be 128 bytes long by its header, got 129"),
        (idx(PICTURES)[:12], "pictures of 28 x 28 pixels, got 0 x 0"),
        (idx(PICTURES[:, :14]), "pictures of 28 x 28 pixels, got 14 x 28"),
        (idx(PICTURES)[:-784], "must be 94096 bytes long by its header, got 93312"),
    ],
)
def test_idx_file_of_another_form_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(SpecError, match=f"DSE_MNIST: .*file.* {message}"):
        read_idx(path)


def test_what_is_called_gz_must_be_one(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"

    for content in (b"no gzip", gzip.compress(idx(LABELS))[:-9]):
        path.write_bytes(content)
        with pytest.raises(SpecError, match=r"DSE_MNIST: .*file\.gz must be a gzip file"):
            read_idx(path)


@pytest.mark.parametrize(
    ("pictures", "labels", "message"),
    [
        (PICTURES, LABELS[:-1], "must have the same length, got 120 and 119"),
        (PICTURES, LABELS + 1, "must hold labels 0 .. 9, got 10"),
        (LABELS, LABELS, "images-idx3-ubyte must hold pictures, got the other kind"),
        (PICTURES, PICTURES, "labels-idx1-ubyte must hold labels, got the other kind"),
    ],
)
def test_files_that_do_not_go_together_are_refused(
    tmp_path: Path, pictures: np.ndarray, labels: np.ndarray, message: str
) -> None:
    write_idx(tmp_path, pictures, labels)

    with pytest.raises(SpecError, match=message):
        Mnist(tmp_path).read(silent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"4\.json must be JSON"),
        ("[]", "must hold numbers from 0 to 1 under `data`, .* got no such list"),
        (json.dumps({"data": ["ink"]}), "got no such list"),
        (json.dumps({"data": [0.5] * 785}), "784 a picture, got 785"),
        (json.dumps({"data": [1.5] * 784}), "numbers from 0 to 1"),
        (json.dumps({"data": [float("nan")] * 784}), "numbers from 0 to 1"),
        (json.dumps({"data": []}), "784 a picture, got 0"),
    ],
)
def test_json_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    write_json(tmp_path, PICTURES, LABELS)
    (tmp_path / "4.json").write_text(text)

    with pytest.raises(SpecError, match=message):
        Mnist(tmp_path).read(silent)
