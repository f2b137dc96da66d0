"""Fake quantization that gradients pass: the float image of a product on integer codes."""

from collections.abc import Mapping
from functools import partial
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional

from evaluators.quantizers.calibration import Range, weight_range
from evaluators.quantizers.grid import Grid
from evaluators.quantizers.layers import Widths, swap_linear


@final
class ShadowModel:
    """A network in training whose named `nn.Linear` layers see quantized weights and inputs.

    The weights themselves, the shadow weights, stay in float (BinaryConnect: Courbariaux et al.
    2015, arXiv 1511.00363, as MOHAQ retrains). The model is changed in place; its parameters keep
    their names.
    """

    def __init__(self, model: nn.Module, widths: Mapping[str, Widths]) -> None:
        """Swap the layers.

        Raises:
            EvaluationError: a layer that is no `nn.Linear` of the model.
        """
        self.model = model
        self._layers = {
            name: swap_linear(model, name, partial(ShadowLinear, widths=at))
            for name, at in widths.items()
        }

    def fit_weights(self) -> None:
        """Fit the thresholds of the weights as they are now."""
        for layer in self._layers.values():
            layer.weight_grid = weight_range(layer.weight).grid(layer.widths.weights)

    def fit_inputs(self, ranges: Mapping[str, Range] | None) -> None:
        """Set the thresholds of the inputs; None: inputs stay in float."""
        for name, layer in self._layers.items():
            fitted = None if ranges is None else ranges[name].grid(layer.widths.inputs)
            layer.input_grid = fitted


class ShadowLinear(nn.Module):
    """`nn.Linear` with fake-quantized weights and inputs; in float while a grid is None."""

    def __init__(self, linear: nn.Linear, widths: Widths) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.widths = widths
        self.weight_grid: Grid | None = None
        self.input_grid: Grid | None = None

    def forward(self, values: Tensor) -> Tensor:
        weight = self.weight
        if self.weight_grid is not None:
            weight = pass_all(weight, self.weight_grid)
        if self.input_grid is not None:
            values = pass_inside(values, self.input_grid)
        return functional.linear(values, weight, self.bias)


def pass_all(values: Tensor, grid: Grid) -> Tensor:
    """Return `values` on the grid, in real units; the gradient passes everywhere unchanged."""
    return values + (quantized(values, grid) - values).detach()


def pass_inside(values: Tensor, grid: Grid) -> Tensor:
    """Return `values` on the grid, in real units; the gradient passes where they are not clipped
    and is zero elsewhere (Hubara et al. 2016, arXiv 1602.02830)."""
    inside = values.clamp(grid.low * grid.step, grid.high * grid.step)
    return inside + (quantized(values, grid) - inside).detach()


def quantized(values: Tensor, grid: Grid) -> Tensor:
    """Return the real values of the codes of `values`."""
    with torch.no_grad():
        return grid.codes(values).mul_(grid.step)
