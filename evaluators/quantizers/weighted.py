"""Products of activations with stored weights on integer codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from dse.errors import EvaluationError, SpecError
from evaluators.arithmetic.products import exact_dtype, heaviest_column
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.kinds import Weighted, form_of, interpose
from evaluators.quantizers.partial_sums import Look, Summation, SummedProduct
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.tensor_range import weight_grid

_SMALL_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """A weight as integers.

    Attributes:
        codes: (n, …), int8 up to 8 bits and int16 beyond.
        heaviest: largest sum of magnitudes of an output channel.
    """

    codes: Tensor
    grid: Grid | ChannelGrid
    heaviest: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operands:
    """All that a product needs at its scheme.

    Attributes:
        weights: integer codes (n, …) in a dtype that keeps the product exact.
        coded: the weights as stored.
        inputs: grid of the input activations.
        summation: how partial sums are stored; None: sums are exact.
    """

    weights: Tensor
    coded: Coded
    inputs: Grid
    summation: Summation | None = None

    @property
    def grid(self) -> Grid | ChannelGrid:
        """Of the weights."""
        return self.coded.grid

    @property
    def grids(self) -> tuple[Grid, Grid | ChannelGrid]:
        """Of the inputs and of the weights."""
        return self.inputs, self.grid

    @property
    def step(self) -> float | Tensor:
        """Real value of 1 in the integer product, the inverse of both scales: one figure, or
        float64 (n,)."""
        if isinstance(self.grid, Grid):
            return self.grid.step * self.inputs.step
        return torch.tensor(self.grid.steps, dtype=torch.float64) * self.inputs.step


def code_dtype(grid: Grid | ChannelGrid) -> torch.dtype:
    """Return the integer dtype in which codes of a grid are stored."""
    return torch.int8 if grid.high < 2 ** (_SMALL_BITS - 1) else torch.int16


def coded(codes: Tensor, grid: Grid | ChannelGrid) -> Coded:
    """Return a weight given as codes of any dtype."""
    return Coded(codes=codes.to(code_dtype(grid)), grid=grid, heaviest=heaviest_column(codes))


def check_finite(values: Tensor, layer: str) -> None:
    """Refuse NaN and infinities, which have no code.

    Raises:
        EvaluationError: there are some.
    """
    # one sum costs less than looking at each value, but may overflow by itself
    total = values.sum(dtype=torch.promote_types(values.dtype, torch.float32))
    if not torch.isfinite(total) and not bool(values.isfinite().all()):
        raise EvaluationError(f"input of layer {layer!r} must be finite, got NaN or infinity")


@final
class WeightedProduct:
    """An `nn.Linear`, `nn.Conv1d` or `nn.Conv2d` on integer codes; in float while `operands` is
    None. The module is changed in place.

    Attributes:
        layer: name of the layer.
    """

    def __init__(self, layer: str, module: Weighted) -> None:
        self.layer = layer
        self.operands: Operands | None = None
        self._module = module
        self._form = form_of(module)
        self._coded: dict[tuple[int, bool], Coded] = {}
        self._summed: tuple[Coded, int, SummedProduct] | None = None
        self._in_float = interpose(module, self._forward)

    def put(self, scheme: Scheme, inputs: Grid) -> None:
        """Stand at a scheme, with inputs on a grid."""
        self.take(self._codes(scheme.weights, scheme.by_channel), inputs)

    def stores(self, tile: int) -> bool:
        """Tell whether sums of tiles of this length are stored: not if one tile holds the whole
        reduction, nor of a depthwise convolution, whose window an array sums inside."""
        weight = self._module.weight
        depthwise = not isinstance(self._module, nn.Linear) and (
            self._module.groups > 1 and weight.shape[1] == 1
        )
        return not depthwise and weight[0].numel() > tile

    def look(self, tile: int) -> Look:
        """Return what finds the largest sums at the grids that the product stands at."""
        operands = self.operands
        assert operands is not None
        summed = self._sums(operands.coded, tile)
        return lambda input: summed.maxima(operands.inputs.codes(input))

    @contextmanager
    def in_float(self) -> Iterator[None]:
        """Compute in float for a while."""
        operands, self.operands = self.operands, None
        try:
            yield
        finally:
            self.operands = operands

    def take(self, weight: Coded, inputs: Grid, summation: Summation | None = None) -> None:
        """Stand at these codes, with inputs on a grid and sums stored so."""
        dtype = exact_dtype(weight.heaviest * inputs.largest)
        now = self.operands
        kept = now is not None and now.coded is weight and now.weights.dtype == dtype
        # Only the operands in use are held as floats: of all that a search visits, that would
        # be several times the network.
        weights = now.weights if now is not None and kept else weight.codes.to(dtype)
        self.operands = Operands(weights=weights, coded=weight, inputs=inputs, summation=summation)

    def _codes(self, bits: int, by_channel: bool) -> Coded:
        key = (bits, by_channel)
        if key not in self._coded:
            weight = self._module.weight.detach()
            try:
                grid = weight_grid(weight, bits=bits, by_channel=by_channel)
            except SpecError as error:
                raise EvaluationError(f"weight of layer {self.layer!r}: {error}") from error
            self._coded[key] = coded(grid.codes(weight), grid)
        return self._coded[key]

    def _forward(self, input: Tensor) -> Tensor:
        operands = self.operands
        if operands is None:
            return self._in_float(input)
        check_finite(input, self.layer)
        codes = operands.inputs.codes(input)
        product = self._product(codes, operands)
        # Back to the model's dtype before scaling: which dtype kept the sum exact leaves no trace.
        real = product.to(codes.dtype).mul_(self._along(operands.step, codes.dtype))
        bias = self._module.bias
        if bias is not None:
            real = real.add_(self._along(bias, codes.dtype))
        return real.to(input.dtype)

    def _product(self, codes: Tensor, operands: Operands) -> Tensor:
        summation = operands.summation
        if summation is None:
            return self._form.integers(codes.to(operands.weights.dtype), operands.weights)
        summed = self._sums(operands.coded, summation.sums.tile)
        return summed(codes, operands.inputs, summation)

    def _sums(self, weight: Coded, tile: int) -> SummedProduct:
        # Only those in use are kept laid out.
        if self._summed is None or self._summed[0] is not weight or self._summed[1] != tile:
            self._summed = weight, tile, SummedProduct(self._form, weight.codes, tile)
        return self._summed[2]

    def _along(self, figures: float | Tensor, dtype: torch.dtype) -> float | Tensor:
        if not isinstance(figures, Tensor):
            return figures
        return figures.detach().to(dtype).reshape(-1, *self._form.trailing * (1,))
