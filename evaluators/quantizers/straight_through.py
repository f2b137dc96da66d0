"""Fake quantization that gradients pass: the float image of a product on integer codes."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from evaluators.arithmetic.matmul import MatMul
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.kinds import Weighted, find_product, form_of, interpose, second
from evaluators.quantizers.layers import Ranges
from evaluators.quantizers.learned_sums import LearnedExponents
from evaluators.quantizers.partial_sums import (
    Summation,
    SummedProduct,
    stored,
    summed_matmul,
)
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.tensor_range import weight_grid
from evaluators.quantizers.weighted import stores


@final
class ShadowModel:
    """A network in training whose named products see quantized weights and inputs.

    The weights themselves, the shadow weights, stay in float (BinaryConnect: Courbariaux et al.
    2015, arXiv 1511.00363, as MOHAQ retrains). The model is changed in place; its parameters keep
    their names.

    Attributes:
        exponents: layer -> the exponents of its partial sums that are learned.
    """

    def __init__(
        self, model: nn.Module, schemes: Mapping[str, Scheme], *, learn: bool = False
    ) -> None:
        """Take hold of the layers.

        Args:
            learn: exponents of partial sums are learned, those of products with weights.

        Raises:
            EvaluationError: a layer that is no product of the model.
        """
        self.model = model
        self._layers = {name: _shadow(model, name, at) for name, at in schemes.items()}
        self.exponents = self._learnable() if learn else {}

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
        grid is None. Exponents that are learned only begin there."""
        for name, summation in summations.items():
            self._layers[name].summation = summation
            learned = self.exponents.get(name)
            if learned is not None and summation is not None and not learned.begun:
                learned.begin(summation)

    def _learnable(self) -> dict[str, LearnedExponents]:
        found = {}
        for name, layer in self._layers.items():
            sums = layer.scheme.sums
            if isinstance(layer, ShadowWeighted) and sums is not None and layer.stores(sums.tile):
                layer.learned = found[name] = LearnedExponents(layer.k, sums)
        return found


@final
class ShadowWeighted:
    """A product with fake-quantized weights and inputs; in float while a grid is None. The module
    is changed in place.

    Attributes:
        summation: how partial sums are stored; None: sums are exact.
        learned: the exponents, where they are learned.
    """

    def __init__(self, module: Weighted, scheme: Scheme) -> None:
        self.scheme = scheme
        self.inputs: Grid | None = None
        self.summation: Summation | None = None
        self.learned: LearnedExponents | None = None
        self._weight: Grid | ChannelGrid | None = None
        self._module = module
        self._form = form_of(module)
        interpose(module, self._forward)

    @property
    def k(self) -> int:
        """Length of the reduction."""
        return self._module.weight[0].numel()

    def stores(self, tile: int) -> bool:
        """As `evaluators.quantizers.weighted.WeightedProduct.stores`."""
        return stores(self._module, tile)

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
        if self.learned is None:
            found = self._summed(input, self.inputs, self._weight, self.summation)
            real = pass_through(exact, found)
        else:
            found = self._learned(input, self.inputs, self._weight, self.learned)
            real = pass_through(exact, found) + (found - found.detach()).to(exact.dtype)
        return real if bias is None else real + bias.reshape(-1, *(1,) * (weight.dim() - 2))

    @torch.no_grad()
    def _summed(
        self, input: Tensor, inputs: Grid, grid: Grid | ChannelGrid, summation: Summation
    ) -> Tensor:
        weights = grid.codes(self._module.weight).to(torch.int8)
        summed = SummedProduct(self._form, weights, summation.sums.tile)
        product = summed(*stored(input, inputs), summation)
        return product * inputs.step * summed.along(steps_of(grid))

    def _learned(
        self,
        input: Tensor,
        inputs: Grid,
        grid: Grid | ChannelGrid,
        learned: LearnedExponents,
    ) -> Tensor:
        with torch.no_grad():
            codes = inputs.codes(input)
            weights = grid.codes(self._module.weight)
        tile = learned.tile
        columns = self._form.weight_rows(weights, tile)
        parts = []
        for rows in self._form.input_rows(codes, weights, tile, 0):
            products = [
                learned.product(rows[..., group, :].reshape(-1, rows.shape[-1]), w)
                for group, w in enumerate(columns)
            ]
            parts.append(torch.cat(products, dim=1).reshape(*rows.shape[:-2], -1))
        product = self._form.outputs(torch.cat(parts), codes)
        steps = steps_of(grid)
        along = steps.reshape(-1, *(1,) * (weights.dim() - 2)) if steps.dim() else steps
        return product * inputs.step * along


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
    passed: Tensor = _Inside.apply(values, grid)  # type: ignore[no-untyped-call]
    return passed


class _Inside(torch.autograd.Function):
    # Left to autograd, the passes over memory took twice as long.

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Grid) -> Tensor:
        inside = values.clamp(grid.least * grid.step, grid.most * grid.step)
        ctx.save_for_backward(inside == values)
        # not the quantized values alone: inside + (quantized - inside) may round otherwise
        return quantized(values, grid).sub_(inside).add_(inside)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return torch.where(inside, grads[0], 0.0), None


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
