"""Products of two activations on integer codes."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from evaluators.arithmetic.encoding import dense
from evaluators.arithmetic.matmul import MatMul
from evaluators.arithmetic.products import exact_dtype, rounded_matmul
from evaluators.quantizers.grid import Grid
from evaluators.quantizers.kinds import interpose, second
from evaluators.quantizers.weighted import not_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicOperands:
    """Grids of both operands of a product that stores nothing."""

    inputs: Grid
    second: Grid

    @property
    def step(self) -> float:
        """Real value of 1 in the integer product."""
        return self.inputs.step * self.second.step

    def dtype(self, k: int) -> torch.dtype:
        """Return the float dtype that keeps sums of k products exact."""
        return exact_dtype(k * self.inputs.largest * self.second.largest)


@final
class DynamicProduct:
    """A `MatMul` on integer codes; in float while `operands` is None. The module is changed in
    place.

    Attributes:
        layer: name of the layer.
    """

    def __init__(self, layer: str, module: MatMul) -> None:
        self.layer = layer
        self.operands: DynamicOperands | None = None
        self._in_float = interpose(module, self._forward)

    def _forward(self, a: Tensor, b: Tensor) -> Tensor:
        operands = self.operands
        if operands is None:
            return self._in_float(a, b)
        first = _codes(a, operands.inputs, self.layer)
        other = _codes(b, operands.second, second(self.layer))
        dtype = operands.dtype(a.shape[-1])
        wide = torch.promote_types(first.dtype, other.dtype)
        product = rounded_matmul(first, other, exact=dtype, dtype=wide)
        return product.mul_(operands.step).to(torch.promote_types(a.dtype, b.dtype))


def _codes(values: Tensor, grid: Grid, operand: str) -> Tensor:
    wide = values.detach().to(torch.promote_types(values.dtype, torch.float32))
    codes, finite = grid.encoding.centred(dense(wide))
    if not finite:
        raise not_finite(operand)
    return codes
