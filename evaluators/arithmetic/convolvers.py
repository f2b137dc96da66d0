"""Convolutions with fixed weights, from real inputs to real outputs, as
`evaluators.arithmetic.multipliers` has them for matrices."""

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from evaluators.arithmetic.convolution import Window, integer_convolution
from evaluators.arithmetic.encoding import Encoding, dense, finite
from evaluators.arithmetic.multipliers import Multiplier, exact_steps, scaled
from evaluators.arithmetic.parts import Part, input_parts, join
from evaluators.arithmetic.products import exact_dtype, heaviest_column
from evaluators.arithmetic.weights import Weights

_FLOAT32: Final = 2**24
_HALF: Final = 2**7
_BYTE: Final = 2**8 - 1
_INT32: Final = 2**31
# Input channels from which bytes pay: of fewer, products take less time than sums' way to memory.
_DEEP: Final = 64
# Of float32: 256 KiB.
_STRETCH: Final = 2**16
# Elements of the pictures that are convolved at once.
_PICTURES: Final = 2**18


Terms = list[tuple[int, Tensor]]
"""Integer convolutions and the power of 2 that each counts for."""

Parts = tuple[tuple[int, Tensor], ...]
"""Weights and the power of 2 that each counts for."""


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
        weights = ((0, self.weights),)
        return _convolved(values, self.encoding, weights, self.window, self.step, bias)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartsConvolver:
    """A convolution of wide codes by convolutions of their parts, each exact in float32; takes
    float32.

    Attributes:
        weights: each part of the weights in float32, and the power of 2 that it counts for.
        step: float64 (n,); None: 1.
    """

    weights: Parts
    window: Window
    encoding: Encoding
    step: Tensor | None

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        encoding, halved = self.encoding, not self.encoding.narrow
        return _convolved(
            values, encoding, self.weights, self.window, self.step, bias, halved=halved
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PointwiseConvolver:
    """A convolution with a kernel of one pixel and a step of 1: a product of bytes for each
    picture, weights times channels; takes float32.

    Attributes:
        weights: the parts of the weights below each other, int8 (parts * n, c).
        shifts: power of 2 that each counts for, the first 0.
        sums: of each output channel's codes, int32 (n, 1).
        short: whether sums of wide inputs stay within 32 bits.
        step: float64 (n,).
        dimensions: of a picture, without channels.
    """

    weights: Tensor
    shifts: tuple[int, ...]
    sums: Tensor
    short: bool
    encoding: Encoding
    step: Tensor
    dimensions: int

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        # one picture at a time, as they come
        batch = values.reshape(-1, *values.shape[-self.dimensions - 1 :]).contiguous()
        real = torch.empty(len(batch), len(self.step), *batch.shape[2:])
        told = True
        for picture, target in zip(batch, real, strict=True):
            codes, whole = self.encoding.stored(picture)
            _write(self._terms(codes.flatten(1)), self.step, bias, target.flatten(1))
            told = told and whole
        single = values.dim() == self.dimensions + 1
        return (real[0] if single else real), told

    def _terms(self, codes: Tensor) -> Terms:
        found = []
        for part in self._parts(codes):
            products = torch._int_mm(self.weights, part.codes)
            total, *others = torch.split(products, len(self.step))
            for shift, other in zip(self.shifts[1:], others, strict=True):
                total.add_(other, alpha=1 << shift)
            if part.zero:
                total.sub_(self.sums * part.zero)
            found.append((part.shift, total))
        if len(found) == 1 or not self.short:
            return found
        (shift, upper), (_, lower) = found
        return [(0, lower.add_(upper, alpha=1 << shift))]

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
        if bytes_pay and window.pointwise(codes) and _in_bytes(weights):
            return _pointwise(weights, encoding, steps)
        parts = _float32_parts(weights, encoding) if exact != dtype else None
        if parts is not None:
            return _of_parts(parts, window, encoding, steps)
    return FloatConvolver(weights=codes.to(exact), window=window, encoding=encoding, step=steps)


def _in_bytes(weights: Weights) -> bool:
    """Tell whether bytes pay and, with weights joined of their parts, keep sums in 32 bits."""
    heaviest = sum(heaviest_column(part.codes) << part.shift for part in weights.parts)
    return weights.codes.shape[1] >= _DEEP and heaviest * _BYTE < _INT32


def _pointwise(weights: Weights, encoding: Encoding, step: Tensor) -> PointwiseConvolver:
    return PointwiseConvolver(
        weights=weights.stack.codes,
        shifts=weights.stack.shifts,
        sums=weights.codes.flatten(1).sum(1, keepdim=True, dtype=torch.int32),
        short=weights.heaviest * encoding.largest < _INT32,
        encoding=encoding,
        step=step,
        dimensions=weights.codes.dim() - 2,
    )


def _float32_parts(weights: Weights, encoding: Encoding) -> Parts | None:
    """Return as few parts as keep the sums of a part's convolutions exact in float32; None if
    their convolutions take longer than one in float64."""
    largest = encoding.largest if encoding.narrow else _HALF
    if weights.heaviest * largest <= _FLOAT32:
        return ((0, weights.codes.float()),)
    pointwise = weights.codes[0, 0].numel() == 1
    if pointwise or len(weights.parts) > 2 or weights.stack.heaviest * largest > _FLOAT32:
        return None
    return tuple((part.shift, part.codes.float()) for part in weights.parts)


def _of_parts(parts: Parts, window: Window, encoding: Encoding, step: Tensor) -> PartsConvolver:
    if not exact_steps(step):
        return PartsConvolver(weights=parts, window=window, encoding=encoding, step=step)
    ones = (1,) * (parts[0][1].dim() - 1)
    real = tuple((shift, part * step.float().reshape(-1, *ones)) for shift, part in parts)
    return PartsConvolver(weights=real, window=window, encoding=encoding, step=None)


def _convolved(
    values: Tensor,
    encoding: Encoding,
    weights: Parts,
    window: Window,
    step: Tensor | None,
    bias: Tensor | None,
    *,
    halved: bool = False,
) -> tuple[Tensor, bool]:
    """Return the convolution by the sum of the weights, times the steps, plus the biases, and
    whether the values are finite; a few pictures at a time, whose codes and sums stay in the
    processor's caches."""
    dimensions = weights[0][1].dim() - 2
    single = values.dim() == dimensions + 1
    batch = _batch(values.unsqueeze(0) if single else values)
    pictures = torch.split(batch, max(1, _PICTURES // max(1, batch[:1].numel())))
    codes = _Codes(encoding, pictures[0], halved=halved)
    exact = weights[0][1].dtype
    real, done = batch, 0
    for some in pictures:
        terms = [
            (place + shift, integer_convolution(inputs.to(exact), part, window))
            for place, inputs in codes.of(some)
            for shift, part in weights
        ]
        if not done:
            real = _room(terms[0][1], len(batch), values.dtype)
        _scale(terms, step, bias, real[done : done + len(some)], dimensions)
        done += len(some)
    return (real.squeeze(0) if single else real), finite(codes.total, values)


def _batch(values: Tensor) -> Tensor:
    """Return pictures without gaps, one after the other in memory."""
    laid = dense(values)
    return laid if laid.stride(0) == max(laid.stride()) else laid.contiguous()


@final
class _Codes:
    """Codes of a few pictures at a time, always in the same memory: fresh memory takes longer than
    arithmetic.

    Attributes:
        total: of all so far, for `finite`.
    """

    def __init__(self, encoding: Encoding, pictures: Tensor, *, halved: bool) -> None:
        """Make room for codes of as many `pictures`."""
        self.total = 0.0
        self._encoding = encoding
        self._codes = torch.empty_like(pictures)
        self._upper = torch.empty_like(pictures) if halved else None

    def of(self, pictures: Tensor) -> Terms:
        """Return the codes of pictures, laid out as those it was made for; the last call's are no
        longer valid."""
        codes = self._codes[: len(pictures)]
        if self._upper is None:
            self.total += self._encoding.write_centred(pictures, codes)
            return [(0, codes)]
        upper = self._upper[: len(pictures)]
        self.total += self._encoding.write_halves(pictures, upper, codes)
        return [(8, upper), (0, codes)]


def _room(product: Tensor, pictures: int, dtype: torch.dtype) -> Tensor:
    """Return an empty tensor for so many pictures, laid out as `product` is."""
    plain = product.is_contiguous()
    layout = torch.contiguous_format if plain else torch.channels_last
    return torch.empty((pictures, *product.shape[1:]), dtype=dtype, memory_format=layout)


def _scale(
    terms: Terms, step: Tensor | None, bias: Tensor | None, out: Tensor, dimensions: int
) -> None:
    if out.is_contiguous() and out[:1].numel() > _STRETCH:
        size = out.shape[-dimensions:].numel()
        for number, target in enumerate(out):
            rows = [(shift, term[number].reshape(-1, size)) for shift, term in terms]
            _write(rows, step, bias, target.view(-1, size))
    else:
        join(terms, out)
        ones = (1,) * dimensions
        figures = [None if one is None else one.reshape(-1, *ones) for one in (step, bias)]
        scaled(out, *figures)


def _write(terms: Terms, step: Tensor | None, bias: Tensor | None, out: Tensor) -> None:
    """Write one picture's results, (n, places), a few channels at a time."""
    count = max(1, _STRETCH // max(1, out.shape[1]))
    shifts = [shift for shift, _ in terms]
    pieces = [torch.split(one, count) for one in (out, *(term for _, term in terms))]
    steps, biases = (
        [None] * len(pieces[0]) if one is None else torch.split(one[:, None], count)
        for one in (step, bias)
    )
    for target, *rest, by, more in zip(*pieces, steps, biases, strict=True):
        join(list(zip(shifts, rest, strict=True)), target)
        scaled(target, by, more)
