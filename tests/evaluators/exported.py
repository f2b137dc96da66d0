"""Exports of tiny networks, whole and changed."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from safetensors.torch import load, save
from torch import Tensor, nn

from dse.design import Choices, Design, content_hash
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.data.vault import Vault
from evaluators.export import Files, Provenance, write_export
from evaluators.manifest import Named
from evaluators.network import Network
from evaluators.quantizers.requests import read_schemes
from tests.evaluators.fake_mixed import MixedNetwork, everywhere
from tests.evaluators.fake_network import TinyNetwork

BITS = (2, 3, 4, 5, 6, 7, 8, 16)
LAYERS = TinyNetwork().shape.names
MIXED = Design(
    {
        "w_bits": dict(zip(LAYERS, (2, 16, 5), strict=True)),
        "a_bits": dict(zip(LAYERS, (8, 3, 16), strict=True)),
    }
)

SCHEMES = [
    everywhere(4),
    everywhere(8, a_symmetry="asymmetric", act_quantizer="absmax"),
    everywhere(3, w_granularity="channel", act_quantizer="percentile"),
    everywhere(2, w_granularity="channel", a_symmetry="asymmetric"),
    everywhere(16),
]

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


def uniform(w_bits: int, a_bits: int) -> Design:
    return Design(
        {"w_bits": dict.fromkeys(LAYERS, w_bits), "a_bits": dict.fromkeys(LAYERS, a_bits)}
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


def exported(
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


def measure(
    choices: Choices, split: str, *, vault: Vault | None = None, beacon: str | None = None
) -> dict[str, float]:
    request = Request(
        key="", choices=choices, arithmetic={}, split=split, timeout_s=1.0, weights=beacon
    )
    return AccuracyEvaluator(TinyNetwork(), vault).evaluate(request)


def resigned(files: Files, change: Callable[[Manifest], object]) -> Files:
    """Change the manifest as one could who knows how its digest is made."""
    told = json.loads(files.manifest)
    del told["digest"]
    change(told)
    return replace(files, manifest=json.dumps(told | {"digest": content_hash(told)}).encode())


def with_tensors(files: Files, change: Callable[[dict[str, Tensor]], object]) -> Files:
    tensors = load(files.tensors)
    change(tensors)
    document = save(tensors)
    digest = hashlib.sha256(document).hexdigest()
    return replace(resigned(files, lambda told: told.update(tensors=digest)), tensors=document)
