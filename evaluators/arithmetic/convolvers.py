"""Convolutions with fixed weights, from real inputs to real outputs, as
`evaluators.arithmetic.multipliers` has them for matrices."""

from collections.abc import Callable
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
# Of float32: 256 KiB.
_STRETCH: Final = 2**16
# Elements of the pictures that are convolved at once.
_PICTURES: Final = 2**17


Terms = list[tuple[int, Tensor]]
"""Integer convolutions and the power of 2 that each counts for."""


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
        return _convolved(values, self._terms, self.step, bias, self.weights.dim() - 2)

    def _terms(self, values: Tensor) -> tuple[Terms, bool]:
        codes, finite = self.encoding.centred(values)
        product = integer_convolution(codes.to(self.weights.dtype), self.weights, self.window)
        return [(0, product)], finite


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
        return _convolved(values, self._terms, self.step, bias, self.weights[0][1].dim() - 2)

    def _terms(self, values: Tensor) -> tuple[Terms, bool]:
        inputs, finite = self._inputs(values)
        return [
            (place + shift, integer_convolution(codes, weights, self.window))
            for shift, weights in self.weights
            for place, codes in inputs
        ], finite

    def _inputs(self, values: Tensor) -> tuple[Terms, bool]:
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
        # one picture at a time, as they come
        batch = values.reshape(-1, *values.shape[-self.dimensions - 1 :]).contiguous()
        real = torch.empty(len(batch), len(self.step), *batch.shape[2:])
        finite = True
        for picture, target in zip(batch, real, strict=True):
            codes, whole = self.encoding.stored(picture)
            _write(self._terms(codes.flatten(1)), self.step, bias, target.flatten(1))
            finite = finite and whole
        single = values.dim() == self.dimensions + 1
        return (real[0] if single else real), finite

    def _terms(self, codes: Tensor) -> Terms:
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


def _convolved(
    values: Tensor,
    terms: Callable[[Tensor], tuple[Terms, bool]],
    step: Tensor,
    bias: Tensor | None,
    dimensions: int,
) -> tuple[Tensor, bool]:
    """Return the sum of terms times the steps, plus the biases, and whether the values are
    finite; a few pictures at a time, whose codes and sums stay in the processor's caches."""
    single = values.dim() == dimensions + 1
    batch = dense(values.unsqueeze(0) if single else values)
    count = max(1, _PICTURES // max(1, batch[:1].numel()))
    real, finite, done = batch, True, 0
    for pictures in torch.split(batch, count):
        found, whole = terms(pictures)
        finite = finite and whole
        if not done:
            real = _room(found[0][1], len(batch), values.dtype)
        target = real[done : done + len(pictures)]
        _scale(found, step, bias, target, dimensions)
        done += len(pictures)
    return (real.squeeze(0) if single else real), finite


def _room(product: Tensor, pictures: int, dtype: torch.dtype) -> Tensor:
    """Return an empty tensor for so many pictures, laid out as `product` is."""
    plain = product.is_contiguous()
    layout = torch.contiguous_format if plain else torch.channels_last
    return torch.empty((pictures, *product.shape[1:]), dtype=dtype, memory_format=layout)


def _scale(terms: Terms, step: Tensor, bias: Tensor | None, out: Tensor, dimensions: int) -> None:
    if out.is_contiguous() and out[:1].numel() > _STRETCH:
        size = out.shape[-dimensions:].numel()
        for number, target in enumerate(out):
            rows = [(shift, term[number].reshape(-1, size)) for shift, term in terms]
            _write(rows, step, bias, target.view(-1, size))
    else:
        join(terms, out)
        ones = (1,) * dimensions
        real = None if bias is None else bias.reshape(-1, *ones)
        scaled(out, step.reshape(-1, *ones), real)


def _write(terms: Terms, step: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Write one picture's results, (n, places), a few channels at a time."""
    figures = [step[:, None], *([] if bias is None else [bias[:, None]])]
    count = max(1, _STRETCH // max(1, out.shape[1]))
    shifts = [shift for shift, _ in terms]
    pieces = [torch.split(one, count) for one in (out, *(term for _, term in terms), *figures)]
    for target, *rest in zip(*pieces, strict=True):
        join(list(zip(shifts, rest, strict=False)), target)
        scaled(target, rest[len(terms)], rest[-1] if bias is not None else None)
