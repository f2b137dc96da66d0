"""A design with its integer weights, as two files that stand alone.

The tensors (safetensors) have the names of the network's state dict: a quantized layer's weight is
there as integer codes, int8 up to 8 bits and int16 beyond, all else as it is in the network.
Products of two activations store nothing. The manifest (JSON) carries the tensors' SHA-256 and one
of its own.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from dse.design import Design
from dse.errors import WeightsError
from evaluators.arithmetic.matmul import MatMul
from evaluators.arithmetic.settings import settle_torch
from evaluators.evaluation import finite_metrics
from evaluators.manifest import (
    FORMAT,
    VERSION,
    Codes,
    Manifest,
    Named,
    QuantizedLayer,
    Sums,
    dump_manifest,
    load_manifest,
)
from evaluators.network import Network
from evaluators.quantizers.dynamic import DynamicOperands, DynamicProduct
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.kinds import find_product
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.weighted import Operands, WeightedProduct, code_dtype, coded


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
    """Return the files of the design at which `model` is set.

    Raises:
        WeightsError: a layer whose weight is no tensor of the network's state.
    """
    tensors = {name: t.detach().clone() for name, t in model.model.state_dict().items()}
    dtypes = {_name(tensor.dtype) for tensor in tensors.values() if tensor.is_floating_point()}
    layers = {name: _layer(one) for name, one in model.operands.items()}
    for name, one in model.operands.items():
        if isinstance(one, Operands):
            if _weight(name) not in tensors:
                raise WeightsError(
                    f"layer {name} must have a tensor {_weight(name)} in the network's state to "
                    "be exported: its weight is computed from others"
                )
            tensors[_weight(name)] = one.coded.codes
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

    Nothing that was trained comes from the network, which gives its architecture and data.
    Settles torch (`evaluators.arithmetic.settings`).

    Args:
        network: prepared.

    Raises:
        WeightsError: the tensors are not this network's, or codes are out of range.
        EvaluationError: a metric that is not finite.
    """
    model = _rebuild(export, network)
    settle_torch()
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
    codes = {_weight(name): one.weights for name, one in layers.items() if one.weights}
    _check(export.tensors, model.state_dict(), codes)
    model.load_state_dict(_real(export.tensors, codes, model))
    for name, layer in layers.items():
        _take(model, name, layer, export.tensors)
    return model


def _real(
    tensors: Mapping[str, Tensor], codes: Mapping[str, Codes], model: nn.Module
) -> dict[str, Tensor]:
    """Return the network's state in real values. A weight that a layer shares with something
    that is not quantized is there in float as well, under the other's name: that is the one."""
    parameters = model.state_dict(keep_vars=True)
    in_float = {id(parameters[name]): tensors[name] for name in tensors if name not in codes}
    return {
        name: in_float[id(parameters[name])]
        if id(parameters[name]) in in_float
        else _grid(codes[name]).real(tensors[name].to(parameters[name].dtype))
        for name in tensors
    }


def _take(
    model: nn.Module, name: str, layer: QuantizedLayer, tensors: Mapping[str, Tensor]
) -> None:
    module = find_product(model, name)
    summation = None if layer.sums is None else layer.sums.summation
    if isinstance(module, MatMul) != (layer.second is not None):
        raise WeightsError(
            f"the export is of another network: {name} must have "
            f"{'a second operand' if isinstance(module, MatMul) else 'weights'}"
        )
    if isinstance(module, MatMul):
        if layer.second is not None:
            DynamicProduct(name, module).operands = DynamicOperands(
                inputs=layer.inputs.grid, second=layer.second.grid, summation=summation
            )
    elif layer.weights is not None:
        weight = coded(tensors[_weight(name)], _grid(layer.weights))
        WeightedProduct(name, module).take(weight, layer.inputs.grid, summation)


def _check(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], codes: Mapping[str, Codes]
) -> None:
    if set(tensors) != set(wanted):
        missing = ", ".join(sorted(set(wanted) - set(tensors))) or "none"
        unknown = ", ".join(sorted(set(tensors) - set(wanted))) or "none"
        raise WeightsError(f"tensors missing: {missing}; tensors that do not belong: {unknown}")
    for name, tensor in tensors.items():
        dtype = code_dtype(_grid(codes[name])) if name in codes else wanted[name].dtype
        if (tensor.shape, tensor.dtype) != (wanted[name].shape, dtype):
            raise WeightsError(
                f"tensor {name} must be {dtype} {list(wanted[name].shape)}, "
                f"got {tensor.dtype} {list(tensor.shape)}"
            )
    for name, meant in codes.items():
        low, high = int(tensors[name].min()), int(tensors[name].max())
        if low < meant.low or high > meant.high:
            raise WeightsError(
                f"codes of {name} must lie in {meant.low} .. {meant.high}, got {low} .. {high}"
            )
        if not meant.whole and len(meant.channels.scales) != len(tensors[name]):
            raise WeightsError(
                f"{name} must have a scale for each of {len(tensors[name])} output channels, "
                f"got {len(meant.channels.scales)}"
            )


def _layer(operands: Operands | DynamicOperands) -> QuantizedLayer:
    sums = None if operands.summation is None else Sums.of(operands.summation)
    if isinstance(operands, DynamicOperands):
        return QuantizedLayer(
            inputs=_codes(operands.inputs), second=_codes(operands.second), sums=sums
        )
    return QuantizedLayer(
        weights=_codes(operands.grid),
        inputs=_codes(operands.inputs),
        product_dtype=_name(operands.dtype),
        sums=sums,
    )


def _codes(grid: Grid | ChannelGrid) -> Codes:
    bits = (grid.high - grid.low).bit_length()
    if isinstance(grid, ChannelGrid):
        return Codes(
            bits=bits,
            scale=list(grid.steps),
            codes_per_unit=list(grid.scales),
            low=grid.low,
            high=grid.high,
        )
    return Codes(
        bits=bits,
        scale=grid.step,
        codes_per_unit=grid.scale,
        zero_point=grid.zero,
        low=grid.low,
        high=grid.high,
    )


def _grid(codes: Codes) -> Grid | ChannelGrid:
    return codes.grid if codes.whole else codes.channels


def _weight(layer: str) -> str:
    return f"{layer}.weight"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
