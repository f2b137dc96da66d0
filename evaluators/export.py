"""A design with its integer weights, as two files that stand alone.

The tensors (safetensors) have the names of the network's state dict: a quantized layer's weight is
there as integer codes, int8 up to 8 bits and int16 beyond, all else as it is in the network. The
manifest (JSON) carries their SHA-256 and one of its own.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dse.design import Design
from dse.errors import WeightsError
from evaluators.evaluation import finite_metrics
from evaluators.manifest import (
    FORMAT,
    VERSION,
    Codes,
    Manifest,
    Named,
    QuantizedLayer,
    dump_manifest,
    load_manifest,
)
from evaluators.network import Network
from evaluators.quantizers.grid import Grid
from evaluators.quantizers.layers import (
    QuantizedLinear,
    QuantizedModel,
    operands_of,
    swap_linear,
)

_SMALL_BITS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where an exported design comes from; attributes as of `Manifest`."""

    workload: Named
    network: str
    platforms: list[Named]
    design: Design
    origin: str
    beacon: str | None
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """An export as its two files' contents."""

    manifest: bytes
    tensors: bytes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Export:
    """An export that was read and found whole."""

    manifest: Manifest
    tensors: Mapping[str, Tensor]


def write_export(model: QuantizedModel, source: Provenance) -> Files:
    """Return the files of the design at which `model` is set."""
    operands = model.operands
    tensors = {name: t.detach().clone() for name, t in model.model.state_dict().items()}
    dtypes = {_name(tensor.dtype) for tensor in tensors.values() if tensor.is_floating_point()}
    layers = {}
    for name, one in operands.items():
        layer = QuantizedLayer(
            weights=_codes(one.grid),
            inputs=_codes(one.inputs),
            product_dtype=_name(one.weights.dtype),
        )
        layers[name] = layer
        tensors[_weight(name)] = one.weights.to(_dtype(layer.weights))
    document = save(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        metadata={"format": f"{FORMAT} {VERSION}"},
    )
    manifest = Manifest(
        workload=source.workload,
        network=source.network,
        platforms=source.platforms,
        design=source.design.to_json(),
        hash=source.design.hash,
        origin=source.origin,
        beacon=source.beacon,
        metrics=dict(source.metrics),
        dtype=", ".join(sorted(dtypes)),
        layers=layers,
        tensors=hashlib.sha256(document).hexdigest(),
        versions={name: metadata.version(name) for name in ("beacon-dse", "torch")},
    )
    return Files(manifest=dump_manifest(manifest), tensors=document)


def read_export(files: Files) -> Export:
    """Read an export's files.

    Raises:
        SpecError: the manifest is none, of another version, or altered.
        WeightsError: the tensors are altered.
    """
    manifest = load_manifest(files.manifest)
    found = hashlib.sha256(files.tensors).hexdigest()
    if found != manifest.tensors:
        raise WeightsError(
            f"the tensors are altered: the manifest names SHA-256 {manifest.tensors}, "
            f"theirs is {found}"
        )
    try:
        return Export(manifest=manifest, tensors=load(files.tensors))
    except SafetensorError as error:
        raise WeightsError(f"the tensors cannot be read: {error}") from error


def measure_export(export: Export, network: Network, split: str) -> dict[str, float]:
    """Run an exported design on a split and return its metrics.

    Nothing that was trained comes from the network, which gives its architecture and data. Sets
    torch to one thread, on which float sums depend.

    Args:
        network: prepared.

    Raises:
        WeightsError: the tensors are not this network's, or codes are out of range.
        EvaluationError: a metric that is not finite.
    """
    torch.set_num_threads(1)
    model = _rebuild(export, network)
    with torch.no_grad():
        return finite_metrics(network.measure(model, split))


def _rebuild(export: Export, network: Network) -> nn.Module:
    layers = export.manifest.layers
    if set(layers) != set(network.shape.names):
        raise WeightsError(
            f"the export is of another network: its layers are {', '.join(layers)}; "
            f"{network.name}'s {', '.join(network.shape.names)}"
        )
    model = network.model()
    codes = {_weight(name): layer.weights for name, layer in layers.items()}
    _check(export.tensors, model.state_dict(), codes)
    real = {
        name: tensor * codes[name].scale if name in codes else tensor
        for name, tensor in export.tensors.items()
    }
    model.load_state_dict(real)
    for name, layer in layers.items():
        swap_linear(model, name, QuantizedLinear).operands = operands_of(
            export.tensors[_weight(name)], grid=layer.weights.grid, inputs=layer.inputs.grid
        )
    return model


def _check(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], codes: Mapping[str, Codes]
) -> None:
    if set(tensors) != set(wanted):
        missing = ", ".join(sorted(set(wanted) - set(tensors))) or "none"
        unknown = ", ".join(sorted(set(tensors) - set(wanted))) or "none"
        raise WeightsError(f"tensors missing: {missing}; tensors that do not belong: {unknown}")
    for name, tensor in tensors.items():
        dtype = _dtype(codes[name]) if name in codes else wanted[name].dtype
        if (tensor.shape, tensor.dtype) != (wanted[name].shape, dtype):
            raise WeightsError(
                f"tensor {name} must be {dtype} {list(wanted[name].shape)}, "
                f"got {tensor.dtype} {list(tensor.shape)}"
            )
    for name, grid in codes.items():
        low, high = int(tensors[name].min()), int(tensors[name].max())
        if low < grid.low or high > grid.high:
            raise WeightsError(
                f"codes of {name} must lie in {grid.low} .. {grid.high}, got {low} .. {high}"
            )


def _codes(grid: Grid) -> Codes:
    return Codes(
        bits=(grid.high - grid.low).bit_length(),
        scale=grid.step,
        codes_per_unit=grid.scale,
        low=grid.low,
        high=grid.high,
    )


def _weight(layer: str) -> str:
    return f"{layer}.weight"


def _dtype(codes: Codes) -> torch.dtype:
    return torch.int8 if codes.bits <= _SMALL_BITS else torch.int16


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
