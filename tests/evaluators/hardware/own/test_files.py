import os
from pathlib import Path

import pytest
import yaml

from dse.errors import SpecError
from evaluators.hardware.own.files import MOST_BYTES, read_definition
from tests.evaluators.hardware.own.definitions import constant, data, written


def based(folder: Path, base: object, file: str = "mine.yaml", /, **said: object) -> Path:
    path = folder / file
    path.write_text(yaml.safe_dump({"base": base, **said}), encoding="utf-8")
    return path


def test_what_a_file_says_takes_the_place_of_what_its_base_says(tmp_path: Path) -> None:
    written(tmp_path, "family.yaml", name="family")
    path = based(
        tmp_path,
        "family.yaml",
        name="mine",
        array={"rows": {**constant(16, "PE"), "source": "another"}},
        throughput=[data()["throughput"][0]],
        buffers={"sums": {"size": constant(3, "KiB")}},
    )

    found = read_definition(path)

    assert found.name == "mine"
    assert (found.array.rows.value, found.array.rows.source) == (16, "another")
    assert found.array.columns.value == 8
    sizes = [buffer.size.value for _, buffer in found.buffers]
    assert sizes == [1000, 1000, 3]
    assert found.buffers.sums.read.value == 1


def test_a_base_may_have_a_base_and_be_a_preset(tmp_path: Path) -> None:
    said = data()
    family = {key: said[key] for key in ("dataflow", "array", "throughput", "buffers")}
    based(tmp_path, "cmos-45", "family.yaml", **family)

    found = read_definition(based(tmp_path, "family.yaml", name="mine"))

    assert (found.dram.read.value, found.dram.read.unit) == (8, "pJ/bit")
    assert found.array.adder is not None


def test_a_constant_replaces_that_of_the_base_as_a_whole(tmp_path: Path) -> None:
    written(tmp_path, "family.yaml", name="family")
    path = based(tmp_path, "family.yaml", name="mine", sums={"value": 16})

    with pytest.raises(SpecError) as told:
        read_definition(path)

    assert f"{path} with base family.yaml is no platform" in str(told.value)
    assert "sums: a constant has value, unit and source: unit is missing, source" in str(
        told.value
    )


def test_bases_that_lead_back_are_refused(tmp_path: Path) -> None:
    based(tmp_path, "b.yaml", "a.yaml")
    based(tmp_path, "c.yaml", "b.yaml")
    based(tmp_path, "a.yaml", "c.yaml")

    with pytest.raises(SpecError, match=r"a\.yaml -> b\.yaml -> c\.yaml -> a\.yaml"):
        read_definition(tmp_path / "a.yaml")
    with pytest.raises(SpecError, match=r"self\.yaml -> self\.yaml"):
        read_definition(based(tmp_path, "self.yaml", "self.yaml"))


def test_a_file_named_like_a_preset_may_have_it_as_base(tmp_path: Path) -> None:
    said = {key: value for key, value in data().items() if key not in ("dram", "sums")}

    found = read_definition(based(tmp_path, "cmos-45", "cmos-45.yaml", **said))

    assert found.dram.bandwidth.value == 192


def test_long_chains_are_refused(tmp_path: Path) -> None:
    for i in range(10):
        based(tmp_path, f"{i + 1}.yaml", f"{i}.yaml")

    with pytest.raises(SpecError, match="at most 8 bases may follow one another"):
        read_definition(tmp_path / "0.yaml")


@pytest.mark.parametrize(
    "base",
    [
        "../outside.yaml",
        "/etc/passwd",
        "sub/inner.yaml",
        "..",
        "other.yml",
        "nothing",
        ["cmos-45"],
        "a\x00.yaml",
        7,
    ],
)
def test_bases_elsewhere_are_refused(tmp_path: Path, base: object) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    written(tmp_path, "outside.yaml")

    with pytest.raises(SpecError, match=r"base|cannot read"):
        read_definition(based(inner, base, name="mine"))


def test_a_base_that_is_a_link_is_refused(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.yaml").symlink_to(written(tmp_path, "outside.yaml"))

    with pytest.raises(SpecError, match=r"'link\.yaml' is a symbolic link"):
        read_definition(based(inner, "link.yaml", name="mine"))


def test_bases_that_are_missing_or_no_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")

    for base in ("folder.yaml", "pipe.yaml"):
        with pytest.raises(SpecError, match=f"{base} must be a file"):
            read_definition(based(tmp_path, base))
    with pytest.raises(SpecError, match=r"cannot read platform file .*none\.yaml"):
        read_definition(based(tmp_path, "none.yaml"))
    with pytest.raises(SpecError, match="must be a file"):
        read_definition(tmp_path)


def test_files_that_are_too_large_or_unfold_too_far_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("# " + "x" * MOST_BYTES)
    with pytest.raises(SpecError, match=f"has at most {MOST_BYTES} bytes"):
        read_definition(path)

    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{letter}: &{letter} [{', '.join([f'*{before}'] * 9)}]")
    path.write_text("\n".join(lines))
    with pytest.raises(SpecError, match=r"platform file mine\.yaml unfolds to at most"):
        read_definition(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping, got an empty document"),
        ("- 1", "must be a mapping, got list"),
        ("{", "is no plain YAML"),
        ("!!python/object/apply:os.system [true]", "is no plain YAML"),
        ("name: a\nname: b", "key 'name' stands twice"),
        ("3: a", "keys must be texts, got 3"),
        ("&a {b: *a}", "must not contain itself"),
        ("name: 2020-13-45", "that YAML cannot read"),
        ("[" * 1200, "nested too deeply|no plain YAML"),
    ],
)
def test_text_that_is_no_plain_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)

    with pytest.raises(SpecError, match=message) as told:
        read_definition(path)

    assert "mine.yaml" in str(told.value) or "stands twice" in str(told.value)
