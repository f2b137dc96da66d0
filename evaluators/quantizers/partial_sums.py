"""Products of stored weights on codes, their sums stored as codes too between two tiles.

What is summed are the products of centred codes, x - zero: that is what an accelerator has which
takes the zero point off as it multiplies, or sets each tile's sum off by zero times the sum of the
tile's weights. Both give the same integers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from evaluators.arithmetic.encoding import Encoding, dense
from evaluators.arithmetic.multipliers import scaled
from evaluators.arithmetic.psum import PreparedPsum, grouped_psum_matmul, prepare_psum
from evaluators.arithmetic.psum_maxima import (
    PsumMaxima,
    PsumUnits,
    calibrate_exponents,
    largest_of,
)
from evaluators.arithmetic.psum_plan import count_tiles
from evaluators.quantizers.grid import Grid
from evaluators.quantizers.kinds import Form
from evaluators.quantizers.scheme import PartialSums

Look = Callable[..., PsumMaxima]
"""Takes what a layer is run on, in real values, and returns its largest exact sums."""

_INT8: Final = torch.iinfo(torch.int8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summation:
    """How the sums of a layer are stored.

    Attributes:
        units: the exponents of the codes.
    """

    sums: PartialSums
    units: PsumUnits

    def cuts(self, k: int) -> bool:
        """Tell whether a reduction of `k` elements has a sum that is stored."""
        return count_tiles(k, self.sums.tile) > 1 if k else False

    def exponents(self, k: int) -> tuple[int, ...]:
        """Return the exponent of each tile of a reduction of `k` elements."""
        return self.units.exponents(count_tiles(k, self.sums.tile), self.sums.group)


def stored(values: Tensor, grid: Grid) -> tuple[Tensor, int]:
    """Return the codes of real values on a grid of at most 8 bits, int8 as they are stored, and
    the code of the real 0."""
    codes, _ = _stored(values.detach().float(), grid.encoding)
    return codes, grid.zero


def _stored(values: Tensor, encoding: Encoding) -> tuple[Tensor, bool]:
    if values.dtype == torch.float32:
        return encoding.stored(dense(values))
    centred, finite = encoding.centred(dense(values))
    return centred.add_(encoding.zero).to(torch.int8), finite


@final
class SummedProduct:
    """Products with the weights of one layer, at one tile length."""

    def __init__(self, form: Form, weights: Tensor, tile: int) -> None:
        """Take weights.

        Args:
            weights: int8 codes, in the layer's own shape.
        """
        self._form = form
        self._weights = weights
        self._tile = tile
        self._rows = form.weight_rows(weights, tile)
        self._prepared: list[PreparedPsum] | None = None

    def __call__(self, codes: Tensor, zero: int, summation: Summation) -> Tensor:
        """Return the product with codes - zero: int32, in the shape of the layer's output.

        Args:
            codes: int8, in the shape of the layer's input.
            zero: the code of the real 0.
        """
        prepared = self._at(summation)
        parts = []
        for rows in self._form.input_rows(codes, self._weights, self._tile, zero):
            products = [
                one(rows[..., group, :].reshape(-1, rows.shape[-1]), zero_point=zero)
                for group, one in enumerate(prepared)
            ]
            product = products[0] if len(products) == 1 else torch.cat(products, dim=1)
            parts.append(product.reshape(*rows.shape[:-2], product.shape[1]))
        return self._form.outputs(_joined(parts), codes)

    def along(self, figures: Tensor) -> Tensor:
        """Return a figure a channel so that it broadcasts over outputs."""
        return figures.reshape(-1, *(1,) * (self._weights.dim() - 2)) if figures.dim() else figures

    def maxima(self, codes: Tensor, zero: int) -> PsumMaxima:
        """Return the largest exact sums with codes - zero; arguments as of a product."""
        return largest_of(
            calibrate_exponents(
                rows.reshape(-1, *rows.shape[-2:]).transpose(0, 1),
                self._rows,
                tile=self._tile,
                zero_point=zero,
            )
            for rows in self._form.input_rows(codes, self._weights, self._tile, zero)
        )

    def _at(self, summation: Summation) -> list[PreparedPsum]:
        sums = summation.sums
        exponents = summation.exponents(self._rows.shape[-1])
        if self._prepared is None:
            self._prepared = [
                prepare_psum(
                    weights.contiguous(),
                    tile=self._tile,
                    group_size=sums.group,
                    exponents=exponents,
                    psum_bits=sums.bits,
                )
                for weights in self._rows
            ]
        first = self._prepared[0].plan
        if (first.group_size, first.psum_bits, first.exponents) != (
            sums.group,
            sums.bits,
            exponents,
        ):
            self._prepared = [
                one.at(group_size=sums.group, exponents=exponents, psum_bits=sums.bits)
                for one in self._prepared
            ]
        return self._prepared


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SummedMultiplier:
    """A product with fixed weights, from real inputs to real outputs; an
    `evaluators.arithmetic.multipliers.Multiplier`.

    Attributes:
        step: real value of 1 in the integer product: float64 (n,) or ().
    """

    summed: SummedProduct
    summation: Summation
    encoding: Encoding
    step: Tensor

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        codes, finite = _stored(values, self.encoding)
        product = self.summed(codes, self.encoding.zero, self.summation).to(values.dtype)
        real = None if bias is None else self.summed.along(bias)
        return scaled(product, self.summed.along(self.step), real), finite


def summed_matmul(
    first: Tensor, other: Tensor, inputs: Grid, second: Grid, summation: Summation
) -> Tensor:
    """Return first (…, m, k) times other (…, k, n), as `torch.matmul` takes them, of centred
    codes held as floats; the sums are stored as codes.

    Args:
        inputs, second: grids of the operands, of at most 8 bits.
    """
    if first.dim() == 1:
        return summed_matmul(first[None], other, inputs, second, summation).squeeze(-2)
    if other.dim() == 1:
        return summed_matmul(first, other[:, None], inputs, second, summation).squeeze(-1)
    lead = np.broadcast_shapes(first.shape[:-2], other.shape[:-2])
    m, k, n = *first.shape[-2:], other.shape[-1]
    codes = (first + inputs.zero).to(torch.int8)
    # one zero point is taken off exactly; two would need the sums of both operands
    fits = _INT8.min <= second.least and second.most <= _INT8.max
    weights = other.mT.to(torch.int8 if fits else torch.int16)
    product = grouped_psum_matmul(
        codes.expand(*lead, m, k).reshape(prod(lead), m, k),
        weights.expand(*lead, n, k).reshape(prod(lead), n, k),
        tile=summation.sums.tile,
        group_size=summation.sums.group,
        exponents=summation.exponents(k),
        psum_bits=summation.sums.bits,
        zero_point=inputs.zero,
    )
    return product.reshape(*lead, m, n).to(torch.promote_types(first.dtype, other.dtype))


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)
