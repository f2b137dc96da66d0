"""Fake quantization that gradients pass: the float image of a product on integer codes."""

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from evaluators.arithmetic.matmul import MatMul
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.kinds import Weighted, find_product, form_of, interpose, second
from evaluators.quantizers.layers import Ranges
from evaluators.quantizers.partial_sums import (
    Summation,
    SummedProduct,
    stored,
    summed_matmul,
)
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.tensor_range import weight_grid


@final
class ShadowModel:
    """A network in training whose named products see quantized weights and inputs.

    The weights themselves, the shadow weights, stay in float (BinaryConnect: Courbariaux et al.
    2015, arXiv 1511.00363, as MOHAQ retrains). The model is changed in place; its parameters keep
    their names.
    """

    def __init__(self, model: nn.Module, schemes: Mapping[str, Scheme]) -> None:
        """Take hold of the layers.

        Raises:
            EvaluationError: a layer that is no product of the model.
        """
        self.model = model
        self._layers = {name: _shadow(model, name, at) for name, at in schemes.items()}

    def fit_weights(self) -> None:
        """Fit the thresholds of the weights as they are now."""
        for layer in self._layers.values():
            if isinstance(layer, ShadowWeighted):
                layer.fit_weight()

    def fit_inputs(self, ranges: Ranges | None) -> None:
        """Set the thresholds of the activations, named as `input_ranges` does; None: they stay in
        float."""
        for name, layer in self._layers.items():
            if ranges is None:
                layer.inputs = None
            elif isinstance(layer, ShadowWeighted):
                layer.inputs = ranges[name].grid(layer.scheme.input_rule)
            else:
                other = ranges[second(name)].grid(layer.scheme.second_rule)
                layer.inputs = ranges[name].grid(layer.scheme.input_rule), other

    def fit_sums(self, summations: Mapping[str, Summation | None]) -> None:
        """Set how the layers store their partial sums; None: sums are exact. Of no effect where a
        grid is None."""
        for name, summation in summations.items():
            self._layers[name].summation = summation


@final
class ShadowWeighted:
    """A product with fake-quantized weights and inputs; in float while a grid is None. The module
    is changed in place.

    Attributes:
        summation: how partial sums are stored; None: sums are exact.
    """

    def __init__(self, module: Weighted, scheme: Scheme) -> None:
        self.scheme = scheme
        self.inputs: Grid | None = None
        self.summation: Summation | None = None
        self._weight: Grid | ChannelGrid | None = None
        self._module = module
        self._form = form_of(module)
        interpose(module, self._forward)

    def fit_weight(self) -> None:
        """Fit the thresholds of the weight as it is now."""
        scheme = self.scheme
        self._weight = weight_grid(
            self._module.weight, bits=scheme.weights, by_channel=scheme.by_channel
        )

    def _forward(self, input: Tensor) -> Tensor:
        weight, bias = self._module.weight, self._module.bias
        if self._weight is not None:
            weight = pass_all(weight, self._weight)
        seen = input if self.inputs is None else pass_inside(input, self.inputs)
        if self.summation is None or self.inputs is None or self._weight is None:
            return self._form.real(seen, weight, bias)
        exact = self._form.real(seen, weight, None)
        real = pass_through(exact, self._summed(input, self.inputs, self._weight, self.summation))
        return real if bias is None else real + bias.reshape(-1, *(1,) * (weight.dim() - 2))

    @torch.no_grad()
    def _summed(
        self, input: Tensor, inputs: Grid, grid: Grid | ChannelGrid, summation: Summation
    ) -> Tensor:
        weights = grid.codes(self._module.weight).to(torch.int8)
        summed = SummedProduct(self._form, weights, summation.sums.tile)
        product = summed(*stored(input, inputs), summation)
        return product * inputs.step * summed.along(steps_of(grid))


@final
class ShadowDynamic:
    """A product of two activations, fake-quantized; in float while there are no grids. The module
    is changed in place.

    Attributes:
        summation: how partial sums are stored; None: sums are exact.
    """

    def __init__(self, module: MatMul, scheme: Scheme) -> None:
        self.scheme = scheme
        self.inputs: tuple[Grid, Grid] | None = None
        self.summation: Summation | None = None
        self._in_float = interpose(module, self._forward)

    def _forward(self, a: Tensor, b: Tensor) -> Tensor:
        if self.inputs is None:
            return self._in_float(a, b)
        inputs, second = self.inputs
        exact = self._in_float(pass_inside(a, inputs), pass_inside(b, second))
        if self.summation is None or not self.summation.cuts(a.shape[-1]):
            return exact
        with torch.no_grad():
            product = summed_matmul(
                inputs.codes(a), second.codes(b), inputs, second, self.summation
            )
        return pass_through(exact, product * inputs.step * second.step)


def pass_all(values: Tensor, grid: Grid | ChannelGrid) -> Tensor:
    """Return `values` on the grid, in real units; the gradient passes everywhere unchanged."""
    return values + (quantized(values, grid) - values).detach()


def pass_inside(values: Tensor, grid: Grid) -> Tensor:
    """Return `values` on the grid, in real units; the gradient passes where they are not clipped
    and is zero elsewhere (Hubara et al. 2016, arXiv 1602.02830)."""
    inside = values.clamp(grid.least * grid.step, grid.most * grid.step)
    return inside + (quantized(values, grid) - inside).detach()


def pass_through(exact: Tensor, real: Tensor) -> Tensor:
    """Return `real`, whose gradient is that of `exact`."""
    return exact + (real.to(exact.dtype) - exact).detach()


def steps_of(grid: Grid | ChannelGrid) -> Tensor:
    """Return the real value of one code: of the whole (), or (n,) of each output channel."""
    return torch.tensor(grid.step if isinstance(grid, Grid) else grid.steps)


def quantized(values: Tensor, grid: Grid | ChannelGrid) -> Tensor:
    """Return the real values of the codes of `values`."""
    with torch.no_grad():
        return grid.real(grid.codes(values)).to(values.dtype)


def _shadow(model: nn.Module, layer: str, scheme: Scheme) -> ShadowWeighted | ShadowDynamic:
    module = find_product(model, layer)
    if isinstance(module, MatMul):
        return ShadowDynamic(module, scheme)
    return ShadowWeighted(module, scheme)
