import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load
from torch import nn

from dse.design import Choices, Design
from dse.errors import WeightsError
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.vault import Vault
from evaluators.export import measure_export, read_export
from evaluators.quantizers.beacon_file import BeaconWeights, dump_beacon
from evaluators.quantizers.calibration import input_ranges
from tests.evaluators.exported import (
    BITS,
    LAYERS,
    MIXED,
    SCHEMES,
    Empty,
    EmptyMixed,
    Manifest,
    exported,
    measure,
    resigned,
    uniform,
)
from tests.evaluators.fake_mixed import MixedNetwork
from tests.evaluators.fake_network import TinyNetwork


@pytest.mark.parametrize("w_bits", BITS)
@pytest.mark.parametrize("a_bits", BITS)
def test_export_alone_measures_exactly_what_its_design_does(w_bits: int, a_bits: int) -> None:
    design = uniform(w_bits, a_bits)

    export = read_export(exported(design))

    for split in ("search", "test"):
        assert measure_export(export, Empty(), split) == measure(design.choices, split)


def test_export_of_beacon_weights_measures_exactly_what_they_do(tmp_path: Path) -> None:
    vault = Vault(tmp_path)
    network = TinyNetwork()
    model = network.model()
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    ranges = input_ranges(model, LAYERS, network.calibration())
    weights = BeaconWeights(
        state=model.state_dict(),
        ranges={layer: found.freeze() for layer, found in ranges.items()},
        about={"network": network.digest},
    )
    beacon = vault.write(dump_beacon(weights))

    export = read_export(exported(MIXED, vault=vault, beacon=beacon))

    assert (export.manifest.origin, export.manifest.beacon) == ("beacon 1", beacon)
    measured = measure(MIXED.choices, "search", vault=vault, beacon=beacon)
    assert measure_export(export, Empty(), "search") == measured
    assert measured != measure(MIXED.choices, "search")


@pytest.mark.parametrize("choices", SCHEMES)
def test_export_of_every_kind_and_scheme_measures_exactly_what_its_design_does(
    choices: Choices,
) -> None:
    request = Request(key="", choices=choices, arithmetic={}, split="search", timeout_s=1.0)

    export = read_export(exported(Design(choices), network=MixedNetwork()))

    measured = AccuracyEvaluator(MixedNetwork()).evaluate(request)
    assert measure_export(export, EmptyMixed(), "search") == measured


def test_manifest_tells_scales_of_channels_zero_points_and_second_operands() -> None:
    files = exported(Design(SCHEMES[3]), network=MixedNetwork())

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


def test_exports_of_the_first_version_are_read() -> None:
    def change(manifest: Manifest) -> None:
        manifest["version"] = 1
        for layer in manifest["layers"].values():
            del layer["second"], layer["sums"]

    export = read_export(resigned(exported(MIXED), change))

    assert measure_export(export, Empty(), "search") == measure(MIXED.choices, "search")


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

    request = Request(key="", choices=MIXED.choices, arithmetic={}, split="search", timeout_s=1.0)

    export = read_export(exported(MIXED, network=Tied()))

    measured = AccuracyEvaluator(Tied()).evaluate(request)
    assert measure_export(export, Tied(), "search") == measured


def test_a_weight_that_is_computed_cannot_be_exported() -> None:
    class Normed(TinyNetwork):
        def model(self) -> nn.Module:
            model = super().model()
            nn.utils.parametrizations.weight_norm(model.get_submodule("first"))
            return model.eval()

    with pytest.raises(WeightsError, match="layer first must have a tensor first.weight"):
        exported(MIXED, network=Normed())


def test_files_hold_codes_and_what_they_mean() -> None:
    files = exported(MIXED)

    manifest, tensors = json.loads(files.manifest), load(files.tensors)
    float_state = TinyNetwork().model().state_dict()
    assert {name: tensor.dtype for name, tensor in tensors.items()} == {
        "first.weight": torch.int8,
        "second.weight": torch.int16,
        "out.weight": torch.int8,
        "out.bias": torch.float32,
    }
    assert torch.equal(tensors["out.bias"], float_state["out.bias"])
    for layer, bits in MIXED.choices["w_bits"].items():
        codes = manifest["layers"][layer]["weights"]
        assert (codes["bits"], codes["zero_point"]) == (bits, 0)
        assert codes["scale"] == 1.0 / codes["codes_per_unit"]
        real = (tensors[f"{layer}.weight"] - codes["zero_point"]) * codes["scale"]
        clipped = float_state[f"{layer}.weight"].clamp(
            codes["low"] * codes["scale"], codes["high"] * codes["scale"]
        )
        torch.testing.assert_close(real, clipped, rtol=0, atol=0.5001 * codes["scale"])


def test_manifest_says_where_the_design_comes_from() -> None:
    told = json.loads(exported(MIXED).manifest)

    assert (told["format"], told["version"]) == ("beacon-dse export", 3)
    assert told["workload"] == {"name": "tiny", "params": {}}
    assert told["platforms"] == [{"name": "bitfusion", "params": {"mode": "paper"}}]
    assert (told["design"], told["hash"]) == (MIXED.to_json(), MIXED.hash)
    assert (told["origin"], told["beacon"]) == ("base", None)
    assert told["metrics"] == {"error": 12.5}
    assert told["dtype"] == "float32"
    assert set(told["versions"]) == {"beacon-dse", "torch"}


def test_equal_exports_have_equal_bytes() -> None:
    assert exported(MIXED) == exported(MIXED)
