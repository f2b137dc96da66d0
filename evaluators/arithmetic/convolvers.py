"""Convolutions with fixed weights, from real inputs to real outputs, as
`evaluators.arithmetic.multipliers` has them for matrices."""

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from evaluators.arithmetic.convolution import Window, integer_convolution
from evaluators.arithmetic.encoding import Encoding, dense
from evaluators.arithmetic.multipliers import Multiplier, scaled
from evaluators.arithmetic.parts import Part, input_parts, join
from evaluators.arithmetic.products import exact_dtype
from evaluators.arithmetic.weights import Weights

_FLOAT32: Final = 2**24
_HALF: Final = 2**7
# Input channels of which bytes pay: fewer take less time than their sums' way to memory, and of
# more the sums may leave 32 bits.
_DEEP: Final = range(64, 2**16)
# Of float32: 512 KiB.
_STRETCH: Final = 2**17


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatConvolver:
    """A convolution in a float dtype that holds all its sums.

    Attributes:
        weights: codes (n, c / groups, *kernel), of that dtype.
        step: float64 (n,).
    """

    weights: Tensor
    window: Window
    encoding: Encoding
    step: Tensor

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        codes, finite = self.encoding.centred(dense(values))
        product = integer_convolution(codes.to(self.weights.dtype), self.weights, self.window)
        return _scaled(product.to(values.dtype), self.step, bias, self.weights.dim() - 2), finite


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartsConvolver:
    """A convolution of wide codes by convolutions of their parts, each exact in float32; takes
    float32.

    Attributes:
        weights: each part of the weights in float32, and the power of 2 that it counts for.
        step: float64 (n,).
    """

    weights: tuple[tuple[int, Tensor], ...]
    window: Window
    encoding: Encoding
    step: Tensor

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        inputs, finite = self._inputs(dense(values))
        products = [
            (place + shift, integer_convolution(codes, weights, self.window))
            for shift, weights in self.weights
            for place, codes in inputs
        ]
        real = torch.empty_like(products[0][1])
        join(products, real)
        return _scaled(real, self.step, bias, self.weights[0][1].dim() - 2), finite

    def _inputs(self, values: Tensor) -> tuple[list[tuple[int, Tensor]], bool]:
        if self.encoding.narrow:
            codes, finite = self.encoding.centred(values)
            return [(0, codes)], finite
        upper, lower, finite = self.encoding.halves(values)
        return [(8, upper), (0, lower)], finite


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PointwiseConvolver:
    """A convolution with a kernel of one pixel and a step of 1: a product of bytes for each
    picture, weights times channels; takes float32.

    Attributes:
        weights: the parts of the weights below each other, int8 (parts * n, c).
        shifts: power of 2 that each counts for.
        sums: of the codes in each row of `weights`, int32 (parts * n, 1).
        step: float64 (n,).
        dimensions: of a picture, without channels.
    """

    weights: Tensor
    shifts: tuple[int, ...]
    sums: Tensor
    encoding: Encoding
    step: Tensor
    dimensions: int

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        codes, finite = self.encoding.stored(values.contiguous())
        size = values.shape[-self.dimensions :]
        batch = values.shape[: -self.dimensions - 1]
        product = torch.empty(*batch, len(self.step), *size)
        flat = product.view(-1, len(self.step), size.numel())
        channels = self.weights.shape[1]
        for target, source in zip(flat, codes.view(-1, channels, size.numel()), strict=True):
            join(self._products(source), target)
        return _scaled(product, self.step, bias, self.dimensions), finite

    def _products(self, codes: Tensor) -> list[tuple[int, Tensor]]:
        found = []
        for part in self._parts(codes):
            product = torch._int_mm(self.weights, part.codes)
            if part.zero:
                product.sub_(self.sums * part.zero)
            pieces = torch.split(product, len(self.step))
            found += [(part.shift + s, one) for s, one in zip(self.shifts, pieces, strict=True)]
        return found

    def _parts(self, codes: Tensor) -> tuple[Part, ...]:
        if codes.dtype == torch.int8:
            return (Part(codes=codes, zero=self.encoding.zero, shift=0),)
        return input_parts(codes)


def convolution_multiplier(
    weights: Weights,
    encoding: Encoding,
    step: Tensor,
    *,
    dtype: torch.dtype,
    window: Window,
    bytes_pay: bool,
) -> Multiplier:
    """Return the fastest exact convolution for weights and inputs of these widths.

    Args:
        weights: (n, c / groups, *kernel).
        bytes_pay: whether this processor multiplies bytes exactly and faster than floats.
        others: as of `matrix_multiplier`, which tells of errors too.
    """
    exact = exact_dtype(weights.heaviest * encoding.largest)
    codes, steps = weights.codes, step.expand(len(weights.codes))
    if dtype == torch.float32:
        if bytes_pay and window.pointwise(codes) and codes.shape[1] in _DEEP:
            return _pointwise(weights, encoding, steps)
        parts = _float32_parts(weights, encoding) if exact != dtype else None
        if parts is not None:
            return PartsConvolver(weights=parts, window=window, encoding=encoding, step=steps)
    return FloatConvolver(weights=codes.to(exact), window=window, encoding=encoding, step=steps)


def _pointwise(weights: Weights, encoding: Encoding, step: Tensor) -> PointwiseConvolver:
    return PointwiseConvolver(
        weights=weights.stack.codes,
        shifts=weights.stack.shifts,
        sums=weights.stack.codes.sum(1, keepdim=True, dtype=torch.int32),
        encoding=encoding,
        step=step,
        dimensions=weights.codes.dim() - 2,
    )


def _float32_parts(weights: Weights, encoding: Encoding) -> tuple[tuple[int, Tensor], ...] | None:
    """Return as few parts as keep the sums of a part's convolutions exact in float32; None if
    their convolutions take longer than one in float64."""
    largest = encoding.largest if encoding.narrow else _HALF
    if weights.heaviest * largest <= _FLOAT32:
        return ((0, weights.codes.float()),)
    pointwise = weights.codes[0, 0].numel() == 1
    if pointwise or len(weights.parts) > 2 or weights.stack.heaviest * largest > _FLOAT32:
        return None
    return tuple((part.shift, part.codes.float()) for part in weights.parts)


def _scaled(product: Tensor, step: Tensor, bias: Tensor | None, dimensions: int) -> Tensor:
    """Return `scaled` along the channels, which `dimensions` others follow."""
    step, bias = step.to(product.dtype), None if bias is None else bias.to(product.dtype)
    if not product.is_contiguous() or not product.numel():
        ones = (1,) * dimensions
        along = None if bias is None else bias.reshape(-1, *ones)
        return scaled(product, step.reshape(-1, *ones), along)
    rows = product.view(-1, product.shape[-dimensions:].numel())
    count = max(1, _STRETCH // rows.shape[1])
    pictures = len(rows) // len(step)
    columns = [one.repeat(pictures)[:, None] for one in (step, bias) if one is not None]
    for row, *figures in zip(
        torch.split(rows, count), *(torch.split(one, count) for one in columns), strict=True
    ):
        scaled(row, figures[0], figures[1] if bias is not None else None)
    return product
