import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from dse.design import Choices, Design, content_hash
from dse.errors import SpecError, WeightsError
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.vault import Vault
from evaluators.export import Files, Provenance, measure_export, read_export, write_export
from evaluators.manifest import Named
from evaluators.network import Network
from evaluators.quantizers.beacon_file import BeaconWeights, dump_beacon
from evaluators.quantizers.calibration import input_ranges
from evaluators.quantizers.requests import read_schemes
from tests.evaluators.fake_mixed import LAYERS, MixedNetwork, everywhere
from tests.evaluators.fake_network import TinyNetwork

_BITS = (2, 3, 4, 5, 6, 7, 8, 16)
_LAYERS = TinyNetwork().shape.names
_MIXED = Design(
    {
        "w_bits": dict(zip(_LAYERS, (2, 16, 5), strict=True)),
        "a_bits": dict(zip(_LAYERS, (8, 3, 16), strict=True)),
    }
)

Manifest = dict[str, Any]  # JSON data
Arithmetic = Mapping[str, Mapping[str, int | str]]


class Empty(TinyNetwork):
    """The tiny network without anything that was trained."""

    def model(self) -> nn.Module:
        model = super().model()
        for parameter in model.parameters():
            nn.init.constant_(parameter, float("nan"))
        return model

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        return TinyNetwork().measure(model, split)


def _uniform(w_bits: int, a_bits: int) -> Design:
    return Design(
        {"w_bits": dict.fromkeys(_LAYERS, w_bits), "a_bits": dict.fromkeys(_LAYERS, a_bits)}
    )


class EmptyMixed(MixedNetwork):
    """Likewise."""

    def model(self) -> nn.Module:
        model = super().model()
        for parameter in model.parameters():
            nn.init.constant_(parameter, float("nan"))
        return model

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        return MixedNetwork().measure(model, split)


def _files(
    design: Design,
    *,
    vault: Vault | None = None,
    beacon: str | None = None,
    network: Network | None = None,
    arithmetic: Arithmetic | None = None,
) -> Files:
    network = network or TinyNetwork()
    model = AccuracyEvaluator(network, vault).quantized(beacon)
    model.set(read_schemes(design.choices, arithmetic or {}, network.shape.names))
    source = Provenance(
        workload=Named(name=network.name, params={}),
        network=network.digest,
        platforms=[Named(name="bitfusion", params={"mode": "paper"})],
        design=design,
        origin="base" if beacon is None else "beacon 1",
        beacon=beacon,
        metrics={"error": 12.5},
    )
    return write_export(model, source)


def _measured(
    choices: Choices, split: str, *, vault: Vault | None = None, beacon: str | None = None
) -> dict[str, float]:
    request = Request(
        key="", choices=choices, arithmetic={}, split=split, timeout_s=1.0, weights=beacon
    )
    return AccuracyEvaluator(TinyNetwork(), vault).evaluate(request)


def _resigned(files: Files, change: Callable[[Manifest], object]) -> Files:
    """Change the manifest as one could who knows how its digest is made."""
    told = json.loads(files.manifest)
    del told["digest"]
    change(told)
    return replace(files, manifest=json.dumps(told | {"digest": content_hash(told)}).encode())


def _with_tensors(files: Files, change: Callable[[dict[str, Tensor]], object]) -> Files:
    tensors = load(files.tensors)
    change(tensors)
    document = save(tensors)
    digest = hashlib.sha256(document).hexdigest()
    return replace(_resigned(files, lambda told: told.update(tensors=digest)), tensors=document)


@pytest.mark.parametrize("w_bits", _BITS)
@pytest.mark.parametrize("a_bits", _BITS)
def test_export_alone_measures_exactly_what_its_design_does(w_bits: int, a_bits: int) -> None:
    design = _uniform(w_bits, a_bits)

    export = read_export(_files(design))

    for split in ("search", "test"):
        assert measure_export(export, Empty(), split) == _measured(design.choices, split)


def test_export_of_beacon_weights_measures_exactly_what_they_do(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    network = TinyNetwork()
    model = network.model()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    ranges = input_ranges(model, _LAYERS, network.calibration())
    weights = BeaconWeights(
        state=model.state_dict(),
        ranges={layer: found.freeze() for layer, found in ranges.items()},
        about={"network": network.digest},
    )
    beacon = vault.write(dump_beacon(weights))

    export = read_export(_files(_MIXED, vault=vault, beacon=beacon))

    assert (export.manifest.origin, export.manifest.beacon) == ("beacon 1", beacon)
    measured = _measured(_MIXED.choices, "search", vault=vault, beacon=beacon)
    assert measure_export(export, Empty(), "search") == measured
    assert measured != _measured(_MIXED.choices, "search")


_SCHEMES = [
    everywhere(4),
    everywhere(8, a_symmetry="asymmetric", act_quantizer="absmax"),
    everywhere(3, w_granularity="channel", act_quantizer="percentile"),
    everywhere(2, w_granularity="channel", a_symmetry="asymmetric"),
    everywhere(16),
]


@pytest.mark.parametrize("choices", _SCHEMES)
def test_export_of_every_kind_and_scheme_measures_exactly_what_its_design_does(
    choices: Choices,
) -> None:
    request = Request(key="", choices=choices, arithmetic={}, split="search", timeout_s=1.0)

    export = read_export(_files(Design(choices), network=MixedNetwork()))

    measured = AccuracyEvaluator(MixedNetwork()).evaluate(request)
    assert measure_export(export, EmptyMixed(), "search") == measured


def test_manifest_tells_scales_of_channels_zero_points_and_second_operands() -> None:
    files = _files(Design(_SCHEMES[3]), network=MixedNetwork())

    layers, tensors = json.loads(files.manifest)["layers"], load(files.tensors)
    assert "scores.weight" not in tensors
    assert layers["scores"]["weights"] is None
    assert layers["scores"]["second"]["bits"] == 2
    assert len(layers["deep"]["weights"]["scale"]) == 8
    assert layers["groups"]["inputs"]["zero_point"] == -2  # behind a ReLU
    steps = torch.tensor(layers["deep"]["weights"]["scale"]).reshape(8, 1, 1, 1)
    weight = MixedNetwork().model().get_submodule("deep").get_parameter("weight").detach()
    clipped = weight.clamp(-2 * steps, steps)
    torch.testing.assert_close(tensors["deep.weight"] * steps, clipped, rtol=0.0, atol=0.3)


def test_scales_must_be_as_many_as_channels() -> None:
    def change(manifest: Manifest) -> None:
        weights = manifest["layers"]["deep"]["weights"]
        for key in ("scale", "codes_per_unit"):
            del weights[key][0]

    files = _resigned(_files(Design(_SCHEMES[3]), network=MixedNetwork()), change)

    with pytest.raises(WeightsError, match="scale for each of 8 output channels, got 7"):
        measure_export(read_export(files), MixedNetwork(), "search")


def test_a_product_with_weights_is_none_of_two_activations() -> None:
    def change(manifest: Manifest) -> None:
        manifest["layers"]["out"] = manifest["layers"].pop("scores")
        manifest["layers"]["scores"] = manifest["layers"]["out"]

    files = _with_tensors(_files(Design(_SCHEMES[0]), network=MixedNetwork()), lambda _: None)

    with pytest.raises(WeightsError, match="out.weight must be torch.float32"):
        measure_export(read_export(_resigned(files, change)), MixedNetwork(), "search")


def test_exports_of_the_first_version_are_read() -> None:
    def change(manifest: Manifest) -> None:
        manifest["version"] = 1
        for layer in manifest["layers"].values():
            del layer["second"], layer["sums"]

    export = read_export(_resigned(_files(_MIXED), change))

    assert measure_export(export, Empty(), "search") == _measured(_MIXED.choices, "search")


_TILED: dict[str, int | str] = {"tile": 3, "dataflow": "ws"}
_STORED = Design(
    {
        **everywhere(8, act_quantizer="absmax", a_symmetry="asymmetric"),
        "psum_bits": dict(zip(LAYERS, (4, 32, 6, 8, 4, 6, 8), strict=True)),
        "psum_group": dict(zip(LAYERS, (1, 1, 2, 3, "all", 1, 2), strict=True)),
    }
)


def _stored() -> tuple[Files, dict[str, float]]:
    network, arithmetic = MixedNetwork(), dict.fromkeys(LAYERS, _TILED)
    request = Request(
        key="", choices=_STORED.choices, arithmetic=arithmetic, split="test", timeout_s=1.0
    )
    files = _files(_STORED, network=network, arithmetic=arithmetic)
    return files, AccuracyEvaluator(network).evaluate(request)


def test_exports_carry_how_partial_sums_are_stored_and_measure_the_same() -> None:
    files, measured = _stored()

    export = read_export(files)

    assert measure_export(export, EmptyMixed(), "test") == measured
    exact = {name: layer for name, layer in export.manifest.layers.items() if not layer.sums}
    assert list(exact) == ["deep"]
    # the window of `deep` is summed in the array, and its psum_bits say so
    told = json.loads(files.manifest)["layers"]["scores"]["sums"]
    assert (told["tile"], told["bits"], told["group"]) == (3, 4, "all")
    assert len(told["tile_exponents"]) == len(told["sum_exponents"]) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bits": 6}, "psum_bits of scores is 4 in design, 6 in layers"),
        ({"group": 3}, "psum_group of scores is all in design, 3 in layers"),
        ({"bits": 5}, "psum_bits must be one of .*, got 5"),
        ({"group": 9}, "psum_group must be one of .*, got 9"),
        ({"tile": 0}, "greater than or equal to 1"),
        ({"sum_exponents": [1]}, "must be as many, got 4 and 1"),
        ({"sum_exponents": [1, 2, 3, -1]}, "greater than or equal to 0"),
    ],
)
def test_sums_that_cannot_be_or_contradict_the_design_are_refused(
    change: dict[str, object], message: str
) -> None:
    files, _ = _stored()

    def alter(manifest: Manifest) -> None:
        manifest["layers"]["scores"]["sums"].update(change)

    with pytest.raises(SpecError, match=message):
        read_export(_resigned(files, alter))


def test_other_exponents_give_another_error() -> None:
    files, measured = _stored()

    def alter(manifest: Manifest) -> None:
        sums = manifest["layers"]["wide"]["sums"]
        sums["sum_exponents"] = [e + 2 for e in sums["sum_exponents"]]

    altered = read_export(_resigned(files, alter))

    assert measure_export(altered, EmptyMixed(), "test") != measured


def test_a_weight_shared_with_what_is_not_quantized_stays_in_float_there() -> None:
    class Tied(TinyNetwork):
        def model(self) -> nn.Module:
            model = super().model()
            model.add_module("table", nn.Embedding(16, 12))
            table, first = model.get_submodule("table"), model.get_submodule("first")
            table.register_parameter("weight", first.get_parameter("weight"))
            first.register_forward_hook(
                lambda module, given, result: result + table(torch.tensor(3)).sum()
            )
            return model

    request = Request(key="", choices=_MIXED.choices, arithmetic={}, split="search", timeout_s=1.0)

    export = read_export(_files(_MIXED, network=Tied()))

    measured = AccuracyEvaluator(Tied()).evaluate(request)
    assert measure_export(export, Tied(), "search") == measured


def test_a_weight_that_is_computed_cannot_be_exported() -> None:
    class Normed(TinyNetwork):
        def model(self) -> nn.Module:
            model = super().model()
            nn.utils.parametrizations.weight_norm(model.get_submodule("first"))
            return model.eval()

    with pytest.raises(WeightsError, match="layer first must have a tensor first.weight"):
        _files(_MIXED, network=Normed())


def test_files_hold_codes_and_what_they_mean() -> None:
    files = _files(_MIXED)

    manifest, tensors = json.loads(files.manifest), load(files.tensors)
    float_state = TinyNetwork().model().state_dict()
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "first.weight": torch.int8,
        "second.weight": torch.int16,
        "out.weight": torch.int8,
        "out.bias": torch.float32,
    }
    assert torch.equal(tensors["out.bias"], float_state["out.bias"])
    for layer, bits in _MIXED.choices["w_bits"].items():
        codes = manifest["layers"][layer]["weights"]
        assert (codes["bits"], codes["zero_point"]) == (bits, 0)
        assert codes["scale"] == 1.0 / codes["codes_per_unit"]
        real = (tensors[f"{layer}.weight"] - codes["zero_point"]) * codes["scale"]
        clipped = float_state[f"{layer}.weight"].clamp(
            codes["low"] * codes["scale"], codes["high"] * codes["scale"]
        )
        torch.testing.assert_close(real, clipped, rtol=0, atol=0.5001 * codes["scale"])


def test_manifest_says_where_the_design_comes_from() -> None:
    told = json.loads(_files(_MIXED).manifest)

    assert (told["format"], told["version"]) == ("beacon-dse export", 3)
    assert told["workload"] == {"name": "tiny", "params": {}}
    assert told["platforms"] == [{"name": "bitfusion", "params": {"mode": "paper"}}]
    assert (told["design"], told["hash"]) == (_MIXED.to_json(), _MIXED.hash)
    assert (told["origin"], told["beacon"]) == ("base", None)
    assert told["metrics"] == {"error": 12.5}
    assert told["dtype"] == "float32"
    assert set(told["versions"]) == {"beacon-dse", "torch"}


def test_equal_exports_have_equal_bytes() -> None:
    assert _files(_MIXED) == _files(_MIXED)


@pytest.mark.parametrize("position", [10, -1, -50])
def test_flipped_byte_of_the_tensors_is_refused(position: int) -> None:
    files = _files(_MIXED)
    content = bytearray(files.tensors)
    content[position] ^= 1

    with pytest.raises(WeightsError, match="tensors are altered: .*SHA-256"):
        read_export(replace(files, tensors=bytes(content)))


@pytest.mark.parametrize(
    ("old", "new"), [(b'"bits": 5', b'"bits": 6'), (b"12.5", b"12.4"), (b'"tiny"', b'"tidy"')]
)
def test_altered_manifest_is_refused(old: bytes, new: bytes) -> None:
    files = _files(_MIXED)
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
        read_export(_resigned(_files(_MIXED), change))


def test_widths_of_design_and_layers_must_agree() -> None:
    def change(manifest: Manifest) -> None:
        manifest["design"]["w_bits"]["out"] = 6
        manifest["hash"] = Design(manifest["design"]).hash

    with pytest.raises(SpecError, match="w_bits of out is 6 in design, 5 in layers"):
        read_export(_resigned(_files(_MIXED), change))


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
    export = read_export(_with_tensors(_files(_MIXED), change))

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

    export = read_export(_resigned(_files(_MIXED), change))

    with pytest.raises(WeightsError, match="another network: .*last; tiny's first, second, out"):
        measure_export(export, TinyNetwork(), "search")


def test_tensors_that_cannot_be_read_are_refused() -> None:
    files = _resigned(
        _files(_MIXED), lambda told: told.update(tensors=hashlib.sha256(b"nothing").hexdigest())
    )

    with pytest.raises(WeightsError, match="tensors cannot be read"):
        read_export(replace(files, tensors=b"nothing"))
