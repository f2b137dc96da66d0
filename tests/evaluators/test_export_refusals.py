import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dse.design import Design
from dse.errors import SpecError, WeightsError
from evaluators.export import Files, measure_export, read_export
from tests.evaluators.exported import MIXED, SCHEMES, Manifest, exported, resigned, with_tensors
from tests.evaluators.fake_mixed import MixedNetwork
from tests.evaluators.fake_network import TinyNetwork


@pytest.mark.parametrize("position", [10, -1, -50])
def test_flipped_byte_of_the_tensors_is_refused(position: int) -> None:
    files = exported(MIXED)
    content = bytearray(files.tensors)
    content[position] ^= 1

    with pytest.raises(WeightsError, match="tensors are altered: .*SHA-256"):
        read_export(replace(files, tensors=bytes(content)))


@pytest.mark.parametrize(
    ("old", "new"), [(b'"bits": 5', b'"bits": 6'), (b"12.5", b"12.4"), (b'"tiny"', b'"tidy"')]
)
def test_altered_manifest_is_refused(old: bytes, new: bytes) -> None:
    files = exported(MIXED)
    assert old in files.manifest

    with pytest.raises(SpecError, match="manifest is altered"):
        read_export(replace(files, manifest=files.manifest.replace(old, new)))


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (b"", "no JSON document"),
        (b"\xff\xfe", "no JSON document"),
        (b"[" * 100_000, "no JSON document"),
        (b"[]", "format 'beacon-dse export'"),
        (b'{"format": "elf"}', "format 'beacon-dse export'"),
        (b'{"format": "beacon-dse export", "version": 4}', "must be 1 or 2 or 3, got 4"),
        (b'{"format": "beacon-dse export", "version": 1}', "manifest is altered"),
        (b'{"format": "beacon-dse export", "version": 2, "x": NaN}', "manifest is altered"),
    ],
)
def test_what_is_no_manifest_is_refused(manifest: bytes, told: str) -> None:
    with pytest.raises(SpecError, match=told):
        read_export(Files(manifest=manifest, tensors=b""))


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("layers", "out", "weights", "scale"), 0.5, "scale must be 1 / codes_per_unit"),
        (("layers", "out", "weights", "high"), 16, "5 bits have codes -16 .. 15"),
        (("layers", "out", "inputs", "bits"), 9, "bits must be one of"),
        (("layers", "out", "inputs", "zero_point"), 3, "a_symmetry of out is symmetric in design"),
        (("layers", "first", "inputs", "zero_point"), 128, "zero_point must lie in -128 .. 127"),
        (("layers", "out", "weights", "zero_point"), 1, "weights must have zero_point 0"),
        (("layers", "out", "weights"), None, "either weights or a second operand"),
        (("layers", "out", "inputs", "codes_per_unit"), -1.0, "greater than or equal to 0"),
        (("design", "w_bits", "out"), 6, "hash must be the design's"),
        (("hash",), "0" * 64, "hash must be the design's"),
        (("origin",), 7, "origin"),
        (("surprise",), 7, "surprise"),
    ],
)
def test_manifest_that_contradicts_itself_is_refused(
    path: tuple[str, ...], value: object, told: str
) -> None:
    def change(manifest: Manifest) -> None:
        *outer, last = path
        inner = manifest
        for key in outer:
            inner = inner[key]
        inner[last] = value

    with pytest.raises(SpecError, match=told):
        read_export(resigned(exported(MIXED), change))


def test_widths_of_design_and_layers_must_agree() -> None:
    def change(manifest: Manifest) -> None:
        manifest["design"]["w_bits"]["out"] = 6
        manifest["hash"] = Design(manifest["design"]).hash

    with pytest.raises(SpecError, match="w_bits of out is 6 in design, 5 in layers"):
        read_export(resigned(exported(MIXED), change))


def _put(name: str, tensor: Tensor) -> Callable[[dict[str, Tensor]], None]:
    return lambda tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensors: tensors.pop("out.bias"), "missing: out.bias; .*belong: none"),
        (_put("other", torch.zeros(1)), "missing: none; .*belong: other"),
        (_put("out.bias", torch.zeros(6)), r"out.bias must be torch.float32 \[5\], got .*\[6\]"),
        (_put("out.bias", torch.zeros(5).half()), "must be torch.float32 .*, got torch.float16"),
        (_put("out.weight", torch.zeros(5, 8)), "must be torch.int8 .*, got torch.float32"),
        (
            _put("out.weight", torch.full((5, 8), 16, dtype=torch.int8)),
            r"out.weight must lie in -16 \.\. 15, got 16 \.\. 16",
        ),
    ],
    ids=["missing", "unknown", "shape", "dtype", "float codes", "range"],
)
def test_tensors_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Tensor]], object], told: str
) -> None:
    export = read_export(with_tensors(exported(MIXED), change))

    with pytest.raises(WeightsError, match=told):
        measure_export(export, TinyNetwork(), "search")


def test_export_of_another_network_is_refused() -> None:
    def change(manifest: Manifest) -> None:
        manifest["layers"]["last"] = manifest["layers"].pop("out")
        manifest["design"] = {
            knob: {"last" if name == "out" else name: bits for name, bits in layers.items()}
            for knob, layers in manifest["design"].items()
        }
        manifest["hash"] = Design(manifest["design"]).hash

    export = read_export(resigned(exported(MIXED), change))

    with pytest.raises(WeightsError, match="another network: .*last; tiny's first, second, out"):
        measure_export(export, TinyNetwork(), "search")


def test_tensors_that_cannot_be_read_are_refused() -> None:
    files = resigned(
        exported(MIXED), lambda told: told.update(tensors=hashlib.sha256(b"nothing").hexdigest())
    )

    with pytest.raises(WeightsError, match="tensors cannot be read"):
        read_export(replace(files, tensors=b"nothing"))


def test_scales_must_be_as_many_as_channels() -> None:
    def change(manifest: Manifest) -> None:
        weights = manifest["layers"]["deep"]["weights"]
        for key in ("scale", "codes_per_unit"):
            del weights[key][0]

    files = resigned(exported(Design(SCHEMES[3]), network=MixedNetwork()), change)

    with pytest.raises(WeightsError, match="scale for each of 8 output channels, got 7"):
        measure_export(read_export(files), MixedNetwork(), "search")


def test_a_product_with_weights_is_none_of_two_activations() -> None:
    def change(manifest: Manifest) -> None:
        manifest["layers"]["out"] = manifest["layers"].pop("scores")
        manifest["layers"]["scores"] = manifest["layers"]["out"]

    files = with_tensors(exported(Design(SCHEMES[0]), network=MixedNetwork()), lambda _: None)

    with pytest.raises(WeightsError, match="out.weight must be torch.float32"):
        measure_export(read_export(resigned(files, change)), MixedNetwork(), "search")
