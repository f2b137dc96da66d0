"""Files that are not what they should be; `payload` would make a file if it were unpickled."""

import contextlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dse.errors import DseError, SpecError
from evaluators.models.archive import read_archive
from tests.evaluators.models.exports import (
    Mlp,
    bare_payload,
    edit_json,
    export,
    network_of,
    payload,
    program_of,
    rewrite,
)

pytestmark = pytest.mark.slow

PROGRAM = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


@pytest.fixture(scope="module")
def mlp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "mlp.pt2"
    export(Mlp().eval(), torch.randn(3, 6), path)
    return path


def test_payload_runs_when_unpickled_without_care(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    pickle.loads(bare_payload(marker))

    assert marker.exists()


@pytest.mark.parametrize("make", [payload, bare_payload])
def test_pickled_sample_inputs_run_nothing(
    mlp: Path, tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    marker = tmp_path / "ran"
    bad = rewrite(mlp, tmp_path / "bad.pt2", replace={"data/sample_inputs/model.pt": make(marker)})

    with pytest.raises(SpecError, match="data/sample_inputs/model.pt"):
        read_archive(bad)

    assert not marker.exists()


def test_pickled_weight_runs_nothing(mlp: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def pickled(config: Any) -> None:
        config["config"]["layers.0.weight"]["use_pickle"] = True

    bad = edit_json(mlp, tmp_path / "half.pt2", WEIGHTS, pickled)
    bad = rewrite(bad, tmp_path / "bad.pt2", replace={"data/weights/weight_0": payload(marker)})

    with pytest.raises(SpecError, match=r"'layers\.0\.weight' does not load weights-only"):
        read_archive(bad)

    assert not marker.exists()


def test_pickled_constant_runs_nothing(mlp: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def pickled(config: Any) -> None:
        config["config"]["c"] = {
            "path_name": "tensor_0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }

    bad = edit_json(mlp, tmp_path / "half.pt2", CONSTANTS, pickled)
    bad = rewrite(bad, tmp_path / "bad.pt2", add={"data/constants/tensor_0": payload(marker)})

    with pytest.raises(SpecError, match="'c' does not load weights-only"):
        read_archive(bad)

    assert not marker.exists()


@pytest.mark.parametrize(
    "member",
    [
        "data/constants/custom_obj_0",
        "data/constants/opaque_obj_0",
        "data/constants/model.pt",
        "data/weights/model.pt",
        "data/aotinductor/model/model.so",
        "models/other.json",
        "extra/../../outside",
        "../outside",
    ],
)
def test_unexpected_members_are_refused(mlp: Path, tmp_path: Path, member: str) -> None:
    marker = tmp_path / "ran"
    bad = rewrite(mlp, tmp_path / "bad.pt2", add={member: payload(marker)})

    with pytest.raises(SpecError, match="refused|not expected"):
        read_archive(bad)

    assert not marker.exists()


def test_older_format_is_refused_without_unpickling(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as file:
        file.writestr("version", "8.20")
        file.writestr("serialized_exported_program.json", "{}")
        file.writestr("serialized_state_dict.pt", payload(marker))

    with pytest.raises(SpecError, match="torch.export.save"):
        read_archive(tmp_path / "old.pt2")

    assert not marker.exists()


def test_symbolic_expressions_are_not_evaluated(mlp: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"

    def poison(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        for meta in graph["tensor_values"].values():
            for size in meta["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = code
        for size in graph["sym_int_values"].values():
            size["as_expr"]["expr_str"] = code
        program["guards_code"] = [code]
        program["range_constraints"] = {code: {"min_val": 0, "max_val": None}}

    poisoned = edit_json(mlp, tmp_path / "bad.pt2", PROGRAM, poison)

    network_of(poisoned)(torch.randn(2, 6))

    assert not marker.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.hub.load",
        "torch.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten._reshape_alias.default",
        "torch.ops.aten.relu.out",
        "torch.ops.aten.rand.default",
        "torch.ops.aten.__class__.__init__",
        "torch.ops.mine.relu.default",
        "_operator.attrgetter",
        "_operator.call",
        "#mine:relu",
        "builtins.eval",
    ],
)
def test_operators_beyond_the_list_are_refused_by_name(
    mlp: Path, tmp_path: Path, target: str
) -> None:
    def swap(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][1]["target"] = target

    bad = edit_json(mlp, tmp_path / "bad.pt2", PROGRAM, swap)

    with pytest.raises(SpecError, match=f"unsupported operators: '{target}'"):
        program_of(bad)


def test_sizes_take_numbers_alone(mlp: Path, tmp_path: Path) -> None:
    def bloat(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = "_operator.mul"
        node["inputs"] = [
            {"name": "a", "arg": {"as_string": "x"}, "kind": 1},
            {"name": "b", "arg": {"as_int": 10**12}, "kind": 1},
        ]

    bad = edit_json(mlp, tmp_path / "bad.pt2", PROGRAM, bloat)

    with pytest.raises(Exception, match="takes numbers"):
        network_of(bad)(torch.randn(2, 6))


@pytest.mark.parametrize("field", ["sizes", "strides", "storage_offset"])
def test_views_stay_within_what_is_stored(mlp: Path, tmp_path: Path, field: str) -> None:
    def stretch(config: Any) -> None:
        meta = config["config"]["layers.0.weight"]["tensor_meta"]
        meta[field] = {"as_int": 1000} if field == "storage_offset" else [{"as_int": 99}] * 2

    bad = edit_json(mlp, tmp_path / "bad.pt2", WEIGHTS, stretch)

    with pytest.raises(SpecError, match=r"'layers\.0\.weight' reaches beyond"):
        read_archive(bad)


@pytest.mark.parametrize("size", [-1, 2**60, "7", None, 1.5])
def test_sizes_that_are_none_are_refused(mlp: Path, tmp_path: Path, size: object) -> None:
    def spoil(config: Any) -> None:
        config["config"]["layers.0.weight"]["tensor_meta"]["sizes"][0] = {"as_int": size}

    bad = edit_json(mlp, tmp_path / "bad.pt2", WEIGHTS, spoil)

    with pytest.raises(SpecError, match=r"layers\.0\.weight"):
        read_archive(bad)


def test_compressed_members_are_refused(mlp: Path, tmp_path: Path) -> None:
    bad = rewrite(mlp, tmp_path / "bad.pt2", compress=True)

    with pytest.raises(SpecError, match="compressed"):
        read_archive(bad)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"", "no .pt2 archive"), (b"PK\x03\x04 nothing", "no .pt2 archive")],
)
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "model.pt2"
    path.write_bytes(content)

    with pytest.raises(SpecError, match=told):
        read_archive(path)


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt2")

    with pytest.raises(SpecError, match="torch.export.save"):
        read_archive(tmp_path / "state.pt2")


@pytest.mark.parametrize("program", [b"{", b"[]", b"{}", b"[" * 100_000])
def test_programs_that_are_none_are_refused(mlp: Path, tmp_path: Path, program: bytes) -> None:
    bad = rewrite(mlp, tmp_path / "bad.pt2", replace={PROGRAM: program})

    with pytest.raises(SpecError, match="bad.pt2"):
        program_of(bad)


def test_values_that_nothing_gives_are_refused(mlp: Path, tmp_path: Path) -> None:
    def lose(program: Any) -> None:
        del program["graph_module"]["graph"]["nodes"][0]

    bad = edit_json(mlp, tmp_path / "bad.pt2", PROGRAM, lose)

    with pytest.raises(SpecError, match=r"bad.pt2 is not what torch.export.save writes"):
        program_of(bad)


def test_damaged_bytes_are_refused(mlp: Path, tmp_path: Path) -> None:
    content = mlp.read_bytes()
    random = np.random.default_rng(0)
    for _ in range(50):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[random.integers(0, len(damaged), 3)] ^= 255
        (tmp_path / "bad.pt2").write_bytes(damaged.tobytes())

        with contextlib.suppress(DseError):
            network_of(tmp_path / "bad.pt2")(torch.randn(2, 6))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="nowhere.pt2: No such file"):
        read_archive(tmp_path / "nowhere.pt2")
