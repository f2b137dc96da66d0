"""Products of two activations on integer codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from evaluators.arithmetic.activations import encoded_matmul
from evaluators.arithmetic.encoding import dense
from evaluators.arithmetic.matmul import MatMul
from evaluators.arithmetic.products import exact_dtype
from evaluators.arithmetic.psum_maxima import PsumMaxima, calibrate_exponents
from evaluators.quantizers.grid import Grid
from evaluators.quantizers.kinds import interpose, second
from evaluators.quantizers.partial_sums import Look, Summation, summed_matmul
from evaluators.quantizers.weighted import not_finite


@dataclass(frozen=True, slots=True, kw_only=True)
class DynamicOperands:
    """What a product that stores nothing needs at its scheme.

    Attributes:
        inputs, second: grids of both operands.
        summation: how partial sums are stored; None: sums are exact.
    """

    inputs: Grid
    second: Grid
    summation: Summation | None = None

    @property
    def grids(self) -> tuple[Grid, Grid]:
        """Of both operands."""
        return self.inputs, self.second

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

    def stores(self, tile: int) -> bool:
        """Tell whether sums of tiles of this length may be stored at all: how long a reduction
        is, the operands say."""
        return True

    def look(self, tile: int) -> Look:
        """As `evaluators.quantizers.weighted.WeightedProduct.look`."""
        operands = self.operands
        assert operands is not None

        def maxima(a: Tensor, b: Tensor) -> PsumMaxima:
            first, other = operands.inputs.codes(a), operands.second.codes(b)
            rows = first[None] if first.dim() == 1 else first
            columns = other[None] if other.dim() == 1 else other.mT
            return calibrate_exponents(rows, columns, tile=tile)

        return maxima

    @contextmanager
    def in_float(self) -> Iterator[None]:
        """Compute in float for a while."""
        operands, self.operands = self.operands, None
        try:
            yield
        finally:
            self.operands = operands

    def _forward(self, a: Tensor, b: Tensor) -> Tensor:
        operands = self.operands
        if operands is None:
            return self._in_float(a, b)
        summation = operands.summation
        if summation is not None and summation.cuts(a.shape[-1]):
            real = self._summed(a, b, operands, summation)
        else:
            real = self._exact(a, b, operands)
        return real.to(torch.promote_types(a.dtype, b.dtype))

    def _exact(self, a: Tensor, b: Tensor, operands: DynamicOperands) -> Tensor:
        real, (of_a, of_b) = encoded_matmul(
            _wide(a),
            _wide(b),
            (operands.inputs.encoding, operands.second.encoding),
            exact=operands.dtype(a.shape[-1]),
            step=operands.step,
        )
        if not (of_a and of_b):
            raise not_finite(second(self.layer) if of_a else self.layer)
        return real

    def _summed(
        self, a: Tensor, b: Tensor, operands: DynamicOperands, summation: Summation
    ) -> Tensor:
        first = _codes(a, operands.inputs, self.layer)
        other = _codes(b, operands.second, second(self.layer))
        sums = summed_matmul(first, other, operands.inputs, operands.second, summation)
        return sums.to(torch.promote_types(first.dtype, other.dtype)).mul_(operands.step)


def _codes(values: Tensor, grid: Grid, operand: str) -> Tensor:
    codes, finite = grid.encoding.centred(dense(_wide(values)))
    if not finite:
        raise not_finite(operand)
    return codes


def _wide(values: Tensor) -> Tensor:
    return values.detach().to(torch.promote_types(values.dtype, torch.float32))
