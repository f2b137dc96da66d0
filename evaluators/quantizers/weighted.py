"""Products of activations with stored weights on integer codes."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from dse.errors import EvaluationError, SpecError
from evaluators.arithmetic.multipliers import Multiplier
from evaluators.arithmetic.products import exact_dtype
from evaluators.arithmetic.weights import Weights
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.kinds import Weighted, form_of, interpose
from evaluators.quantizers.partial_sums import (
    Look,
    Summation,
    SummedMultiplier,
    SummedProduct,
    stored,
)
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.tensor_range import (
    RANGES_VERSION,
    channel_grid,
    grid_of_scales,
    weight_grid,
)

_SMALL_BITS = 8

Keep = Callable[[Mapping[str, object], Callable[[], Tensor]], Tensor]
"""Returns what its second argument would make, perhaps from earlier; the first says what of."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """A weight as integers.

    Attributes:
        weights: the codes, in the dtype in which they are stored.
    """

    weights: Weights
    grid: Grid | ChannelGrid

    @property
    def codes(self) -> Tensor:
        """(n, …), int8 up to 8 bits and int16 beyond."""
        return self.weights.codes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operands:
    """All that a product needs at its scheme.

    Attributes:
        coded: the weights as stored.
        inputs: grid of the input activations.
        summation: how partial sums are stored; None: sums are exact.
    """

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
    def dtype(self) -> torch.dtype:
        """The narrowest float dtype that keeps the product exact."""
        return exact_dtype(self.coded.weights.heaviest * self.inputs.largest)

    @property
    def step(self) -> Tensor:
        """Real value of 1 in the integer product, the inverse of both scales: float64, () or
        (n,)."""
        steps = self.grid.step if isinstance(self.grid, Grid) else self.grid.steps
        return torch.tensor(steps, dtype=torch.float64) * self.inputs.step


def code_dtype(grid: Grid | ChannelGrid) -> torch.dtype:
    """Return the integer dtype in which codes of a grid are stored."""
    return torch.int8 if grid.high < 2 ** (_SMALL_BITS - 1) else torch.int16


def coded(codes: Tensor, grid: Grid | ChannelGrid) -> Coded:
    """Return a weight given as codes of any dtype."""
    return Coded(weights=Weights(codes.to(code_dtype(grid))), grid=grid)


def not_finite(operand: str) -> EvaluationError:
    """Return the error of NaN and infinities, which have no code."""
    return EvaluationError(f"input of layer {operand!r} must be finite, got NaN or infinity")


def stores(module: Weighted, tile: int) -> bool:
    """Tell whether sums of tiles of this length are stored: not if one tile holds the whole
    reduction, nor of a depthwise convolution, whose window an array sums inside."""
    weight = module.weight
    depthwise = not isinstance(module, nn.Linear) and module.groups > 1 and weight.shape[1] == 1
    return not depthwise and weight[0].numel() > tile


@final
class WeightedProduct:
    """An `nn.Linear`, `nn.Conv1d` or `nn.Conv2d` on integer codes; in float while `operands` is
    None. The module is changed in place.

    Attributes:
        layer: name of the layer.
    """

    def __init__(self, layer: str, module: Weighted, keep: Keep | None = None) -> None:
        """Take hold of a module.

        Args:
            keep: where the scales of its channels may be kept from process to process.
        """
        self.layer = layer
        self._keep = keep
        self.operands: Operands | None = None
        self._module = module
        self._form = form_of(module)
        self._coded: dict[tuple[int, bool], Coded] = {}
        self._summed: tuple[Coded, int, SummedProduct] | None = None
        self._multipliers: dict[torch.dtype, Multiplier] = {}
        self._in_float = interpose(module, self._forward)

    def put(self, scheme: Scheme, inputs: Grid) -> None:
        """Stand at a scheme, with inputs on a grid."""
        self.take(self._codes(scheme.weights, scheme.by_channel), inputs)

    def stores(self, tile: int) -> bool:
        """Tell whether sums of tiles of this length are stored; see `stores`."""
        return stores(self._module, tile)

    def look(self, tile: int) -> Look:
        """Return what finds the largest sums at the grids that the product stands at."""
        operands = self.operands
        assert operands is not None
        summed = self._sums(operands.coded, tile)
        return lambda input: summed.maxima(*stored(input, operands.inputs))

    @contextmanager
    def in_float(self) -> Iterator[None]:
        """Compute in float for a while."""
        operands, self.operands = self.operands, None
        try:
            yield
        finally:
            self.operands = operands

    def take(self, weight: Coded, inputs: Grid, summation: Summation | None = None) -> None:
        """Stand at these codes, with inputs on a grid and sums stored so.

        Raises:
            SpecError: sums may be too large to be exact.
        """
        now = self.operands
        kept = now is not None and now.coded is weight and now.inputs == inputs
        exact_dtype(weight.weights.heaviest * inputs.largest)
        self.operands = Operands(coded=weight, inputs=inputs, summation=summation)
        # Only the operands in use are held as they are multiplied: of all that a search visits,
        # that would be several times the network.
        if not kept:
            self._multipliers.clear()

    def _codes(self, bits: int, by_channel: bool) -> Coded:
        key = (bits, by_channel)
        if key not in self._coded:
            weight = self._module.weight.detach()
            try:
                grid = self._grid(weight, bits=bits, by_channel=by_channel)
            except SpecError as error:
                raise EvaluationError(f"weight of layer {self.layer!r}: {error}") from error
            self._coded[key] = coded(grid.codes(weight), grid)
        return self._coded[key]

    def _grid(self, weight: Tensor, *, bits: int, by_channel: bool) -> Grid | ChannelGrid:
        if not by_channel or self._keep is None:
            return weight_grid(weight, bits=bits, by_channel=by_channel)
        wide = weight.to(torch.promote_types(weight.dtype, torch.float32)).contiguous()
        identity = {
            "ranges": RANGES_VERSION,
            "weight": hashlib.sha256(wide.numpy().tobytes()).hexdigest(),
            "dtype": str(wide.dtype),
            "shape": list(wide.shape),
            "bits": bits,
        }
        found = self._keep(
            identity,
            lambda: torch.tensor(channel_grid(wide, bits=bits).scales, dtype=torch.float64),
        )
        return grid_of_scales(found, bits=bits)

    def _forward(self, input: Tensor) -> Tensor:
        operands = self.operands
        if operands is None:
            return self._in_float(input)
        bias = self._module.bias
        values = input.detach().to(torch.promote_types(input.dtype, torch.float32))
        real, finite = self._multiplier(operands, values.dtype)(
            values, None if bias is None else bias.detach()
        )
        if not finite:
            raise not_finite(self.layer)
        return real.to(input.dtype)

    def _sums(self, weight: Coded, tile: int) -> SummedProduct:
        # Only those in use are kept laid out.
        if self._summed is None or self._summed[0] is not weight or self._summed[1] != tile:
            self._summed = weight, tile, SummedProduct(self._form, weight.codes, tile)
        return self._summed[2]

    def _multiplier(self, operands: Operands, dtype: torch.dtype) -> Multiplier:
        """Return what multiplies: all that a product does on its codes happens there."""
        summation = operands.summation
        if summation is not None:
            return SummedMultiplier(
                summed=self._sums(operands.coded, summation.sums.tile),
                summation=summation,
                encoding=operands.inputs.encoding,
                step=operands.step,
            )
        if dtype not in self._multipliers:
            self._multipliers[dtype] = self._form.multiplier(
                operands.coded.weights, operands.inputs.encoding, operands.step, dtype=dtype
            )
        return self._multipliers[dtype]
