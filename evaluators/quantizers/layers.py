from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.errors import EvaluationError
from evaluators.arithmetic.products import exact_dtype, integer_product
from evaluators.quantizers.calibration import Range, TensorRange, input_ranges, weight_range
from evaluators.quantizers.grid import Grid

Samples = Sequence[tuple[Tensor, ...]]
Swapped = TypeVar("Swapped", bound=nn.Module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bits of one layer's weights and of its input activations."""

    weights: int
    inputs: int


@final
class QuantizedModel:
    """A float model whose named `nn.Linear` layers can be set to any widths.

    The model is changed in place. Codes and grids are made once per layer and width, from the
    float model's own ranges, and shared by all designs: nothing depends on the designs before.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layers: Iterable[str],
        calibration: Callable[[], Samples],
        ranges: Mapping[str, Range] | None = None,
    ) -> None:
        """Swap the layers.

        Args:
            model: a float network in evaluation mode.
            layers: module paths.
            calibration: called once, when input ranges are first needed.
            ranges: of each layer's input; None: those of the float network on the calibration
                samples.

        Raises:
            EvaluationError: a layer that is no `nn.Linear` of the model.
        """
        self.model = model
        self._layers = {layer: swap_linear(model, layer, QuantizedLinear) for layer in layers}
        self._calibration = calibration
        self._ranges: Mapping[str, Range] | None = ranges

    def set(self, widths: Mapping[str, Widths] | None) -> None:
        """Put every layer at its widths; None is the float network."""
        if widths is None:
            for layer in self._layers.values():
                layer.operands = None
            return
        ranges = self._input_ranges()
        for name, layer in self._layers.items():
            at = widths[name]
            layer.operands = layer.at(at.weights, ranges[name].grid(at.inputs))

    @property
    def operands(self) -> dict[str, "Operands"]:
        """What each layer multiplies with at the widths that it is set to; none while in
        float."""
        found = {name: layer.operands for name, layer in self._layers.items()}
        return {name: operands for name, operands in found.items() if operands is not None}

    def _input_ranges(self) -> Mapping[str, Range]:
        if self._ranges is None:
            self.set(None)
            self._ranges = input_ranges(self.model, self._layers, self._calibration())
        return self._ranges


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operands:
    """All that a product needs at its widths.

    Attributes:
        weights: integer codes (n, k) in a dtype that keeps the product exact.
        grid: of the weights.
        inputs: grid of the input activations.
    """

    weights: Tensor
    grid: Grid
    inputs: Grid

    @property
    def step(self) -> float:
        """Real value of 1 in the integer product: the inverse of both scales."""
        return self.grid.step * self.inputs.step


def operands_of(codes: Tensor, *, grid: Grid, inputs: Grid) -> Operands:
    """Return the operands of a product with weights given as codes (n, k) of any dtype."""
    dtype = exact_dtype(codes, largest_input=inputs.largest)
    return Operands(weights=codes.to(dtype), grid=grid, inputs=inputs)


@final
class QuantizedLinear(nn.Module):
    """`nn.Linear` on integer codes; in float while `operands` is None."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = linear.weight
        self.bias = linear.bias
        self.operands: Operands | None = None
        self._range: TensorRange | None = None
        self._codes: dict[tuple[int, torch.dtype], Tensor] = {}
        self._operands: dict[tuple[int, Grid], Operands] = {}

    def forward(self, values: Tensor) -> Tensor:
        operands = self.operands
        if operands is None:
            return functional.linear(values, self.weight, self.bias)
        codes = operands.inputs.codes(values).to(operands.weights.dtype)
        # Back to the model's dtype before scaling: which dtype kept the sum exact leaves no trace.
        product = integer_product(codes, operands.weights).to(values.dtype).mul_(operands.step)
        return product if self.bias is None else product.add_(self.bias)

    def at(self, bits: int, inputs: Grid) -> Operands:
        """Return the operands for weights of so many bits and for inputs on a grid, made on
        first use."""
        key = (bits, inputs)
        if key not in self._operands:
            self._operands[key] = self._make(bits, inputs)
        return self._operands[key]

    def _make(self, bits: int, inputs: Grid) -> Operands:
        if self._range is None:
            self._range = weight_range(self.weight)
        grid = self._range.grid(bits)
        codes = self._coded(bits, grid, torch.float32)
        dtype = exact_dtype(codes, largest_input=inputs.largest)
        return Operands(weights=self._coded(bits, grid, dtype), grid=grid, inputs=inputs)

    def _coded(self, bits: int, grid: Grid, dtype: torch.dtype) -> Tensor:
        key = (bits, dtype)
        if key not in self._codes:
            self._codes[key] = grid.codes(self.weight.detach()).to(dtype)
        return self._codes[key]


def swap_linear(model: nn.Module, layer: str, make: Callable[[nn.Linear], Swapped]) -> Swapped:
    """Put what `make` makes of a layer in its place, and return it.

    Raises:
        EvaluationError: there is no such layer, or it is no `nn.Linear`.
    """
    try:
        found = model.get_submodule(layer)
    except AttributeError as error:
        raise EvaluationError(f"the model has no layer {layer!r}") from error
    if not isinstance(found, nn.Linear):
        kind = type(found).__name__
        raise EvaluationError(f"layer {layer!r} must be an nn.Linear, got {kind}")
    swapped = make(found)
    model.set_submodule(layer, swapped)
    return swapped
