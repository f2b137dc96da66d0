"""Other ways to run a design of a network, for `benchmarks.evaluation`: in float, rounded.

Brevitas is no dependency: it is loaded by name where it is installed.
"""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from evaluators.accuracy import AccuracyEvaluator
from evaluators.network import Network
from evaluators.quantizers.dynamic import DynamicOperands
from evaluators.quantizers.grid import Grid

Widths = Mapping[str, tuple[int, int]]
"""Layer -> bits of weights and of inputs."""


def fake_quantized(network: Network, evaluator: AccuracyEvaluator) -> nn.Module:
    """Return the network at the design at which `evaluator` is set, by the plain loop that
    toolkits for training run: weights rounded beforehand, inputs scaled, rounded, clamped and
    scaled back in float before each product."""
    model = network.model()
    for name, operands in evaluator.quantized(None).operands.items():
        module = model.get_submodule(name)
        if isinstance(operands, DynamicOperands):
            grids = [operands.inputs, operands.second]
        else:
            grids = [operands.inputs]
            weight = module.get_parameter("weight")
            codes = operands.coded.codes.to(weight.dtype)
            module.weight = nn.Parameter(operands.grid.real(codes), requires_grad=False)
        module.register_forward_pre_hook(partial(_rounded, grids))
    return model


def _rounded(
    grids: list[Grid], module: nn.Module, given: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    pairs = zip(grids, given, strict=True)
    return tuple(
        (values * grid.scale).round_().clamp_(grid.least, grid.most).mul_(grid.step)
        for grid, values in pairs
    )


def brevitas_version() -> str | None:
    """Return Brevitas's version; None if it is not installed."""
    return None if find_spec("brevitas") is None else metadata.version("brevitas")


def brevitas_model(network: Network, widths: Widths) -> nn.Module:
    """Return the network with Brevitas's layers at these bits, calibrated and set for inference,
    its weights rounded once. Products of two activations stay in float."""
    model = network.model()
    for name, (w_bits, a_bits) in widths.items():
        layer = _brevitas_layer(model.get_submodule(name), w_bits, a_bits)
        if layer is not None:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer)
    model.train()
    with torch.no_grad():
        for sample in network.calibration()[:4]:
            model(*(tensor.clone() for tensor in sample))
    return model.eval()


def brevitas_inference(model: nn.Module) -> Any:  # of a package without types
    """Return the context in which Brevitas runs a model as fast as it can."""
    inference = import_module("brevitas.export.inference")
    return inference.quant_inference_mode(model, cache_quant_weight=True)


def _brevitas_layer(module: nn.Module, w_bits: int, a_bits: int) -> nn.Module | None:
    qnn, quant = import_module("brevitas.nn"), import_module("brevitas.quant")
    make: Callable[..., Any]  # of a package without types
    if isinstance(module, nn.Linear):
        make = partial(qnn.QuantLinear, module.in_features, module.out_features)
    elif isinstance(module, nn.Conv2d):
        make = partial(
            qnn.QuantConv2d,
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            stride=module.stride,
            padding=module.padding,
            dilation=module.dilation,
            groups=module.groups,
        )
    else:
        return None
    layer: nn.Module = make(
        bias=module.bias is not None,
        weight_quant=quant.Int8WeightPerTensorFloat,
        input_quant=quant.Int8ActPerTensorFloat,
        weight_bit_width=w_bits,
        input_bit_width=a_bits,
    )
    layer.load_state_dict(module.state_dict(), strict=False)
    return layer
