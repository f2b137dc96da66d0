"""Products of activations with stored weights on integer codes."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from dse.errors import EvaluationError, SpecError
from evaluators.arithmetic.multipliers import Multiplier
from evaluators.arithmetic.products import exact_dtype
from evaluators.arithmetic.weights import Weights
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.kinds import Weighted, form_of, interpose
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
    """

    coded: Coded
    inputs: Grid

    @property
    def grid(self) -> Grid | ChannelGrid:
        """Of the weights."""
        return self.coded.grid

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
        self._multipliers: dict[torch.dtype, Multiplier] = {}
        self._in_float = interpose(module, self._forward)

    def put(self, scheme: Scheme, inputs: Grid) -> None:
        """Stand at a scheme, with inputs on a grid."""
        self.take(self._codes(scheme.weights, scheme.by_channel), inputs)

    def take(self, weight: Coded, inputs: Grid) -> None:
        """Stand at these codes, with inputs on a grid.

        Raises:
            SpecError: sums may be too large to be exact.
        """
        now = self.operands
        if now is not None and now.coded is weight and now.inputs == inputs:
            return
        exact_dtype(weight.weights.heaviest * inputs.largest)
        self.operands = Operands(coded=weight, inputs=inputs)
        # Only the operands in use are held as they are multiplied: of all that a search visits,
        # that would be several times the network.
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

    def _multiplier(self, operands: Operands, dtype: torch.dtype) -> Multiplier:
        """Return what multiplies: all that a product does on its codes happens there."""
        if dtype not in self._multipliers:
            self._multipliers[dtype] = self._form.multiplier(
                operands.coded.weights, operands.inputs.encoding, operands.step, dtype=dtype
            )
        return self._multipliers[dtype]
