"""Products with fixed weights, from real inputs to real outputs.

All give round32(round32(sum) * step) + bias of the same exact sums, bit for bit: which of them ran
leaves no trace. `round32` is rounding to the dtype of the values, float32 nearly always.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from evaluators.arithmetic.byte_paths import PART_LIMIT, BytePath, Full, Packed
from evaluators.arithmetic.encoding import Encoding, finite
from evaluators.arithmetic.parts import Part, input_parts, join
from evaluators.arithmetic.products import exact_dtype
from evaluators.arithmetic.settings import in_full
from evaluators.arithmetic.weights import Weights

# Sums of a part that are made at once, to be joined while they are near.
_AT_ONCE, _LEAST_ROWS = 2**17, 2**7
# Elements of a product in floats, for sums in float64 to be rounded while they are near.
_FLOATS, _FLOAT_ROWS = 2**17, 2**9
# Products beyond which those of four pairs of parts take less time than one in float64.
_LONG = 2**8
# So that no product by a step leaves the normal numbers of float32.
_LEAST_STEP = 2.0**-100
# Largest magnitude of a code of 8 bits, moved or centred.
_BYTE = 2**8 - 1


class Multiplier(Protocol):
    """A product with weights that it holds."""

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        """Return the product with the codes of `values` in real units, in their dtype, and
        whether the values are finite.

        Args:
            values: float32 or float64.
            bias: (n,), of any dtype.
        """


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatMultiplier:
    """A matrix product in a float dtype that holds all its sums.

    Attributes:
        weights: codes transposed, (k, n), of that dtype.
        step: real value of 1 in the integer product: float64 (n,) or (); None: 1.
    """

    weights: Tensor
    encoding: Encoding
    step: Tensor | None

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        rows = values.reshape(-1, values.shape[-1]).contiguous()
        real = values.new_empty(len(rows), self.weights.shape[1])
        count = min(len(rows), max(_FLOAT_ROWS, _FLOATS // max(self.weights.shape)))
        # One piece of memory for all stretches: fresh memory takes longer than arithmetic.
        codes = rows.new_empty(count, rows.shape[1])
        wide = torch.empty_like(codes, dtype=self.weights.dtype)
        product = torch.empty_like(real[:count], dtype=self.weights.dtype)
        total = 0.0
        with in_full():
            for source, target in _stretches(count, rows, real):
                total += self.encoding.write(source, codes[: len(source)])
                taken = wide[: len(source)].copy_(codes[: len(source)])
                target.copy_(torch.mm(taken, self.weights, out=product[: len(source)]))
                scaled(target, self.step, bias)
        return real.reshape(*values.shape[:-1], real.shape[1]), finite(total, values)


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ByteMultiplier:
    """A matrix product of codes of at most 8 bits; takes float32.

    Attributes:
        path: how this processor multiplies them.
        step: float32 (n,).
    """

    path: BytePath
    packed: Packed
    encoding: Encoding
    step: Tensor

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        codes, finite = self.encoding.stored(values.contiguous())
        real = None if bias is None else bias.float()
        rows = codes.reshape(-1, codes.shape[-1])
        product = self.path.scaled(rows, self.encoding.zero, self.packed, self.step, real)
        return product.reshape(*values.shape[:-1], self.packed.channels), finite


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PartsMultiplier:
    """A matrix product of codes of which one or both are wide, by products of their parts; takes
    float32.

    Attributes:
        path: how this processor multiplies bytes.
        packed: the parts of the weights below each other, and the power of 2 of each.
        step: float32 (n,).
    """

    path: BytePath
    packed: Packed
    shifts: tuple[int, ...]
    encoding: Encoding
    step: Tensor

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        codes, finite = self.encoding.stored(values.contiguous())
        rows = codes.reshape(-1, codes.shape[-1])
        channels = len(self.step)
        product = torch.empty(len(rows), channels)
        count = max(_LEAST_ROWS, _AT_ONCE // channels)
        for source, target in _stretches(count, rows, product):
            join(self._products(source), target)
            scaled(target, self.step, bias)
        return product.reshape(*values.shape[:-1], channels), finite

    def _products(self, codes: Tensor) -> list[tuple[int, Tensor]]:
        found = []
        for part in self._parts(codes):
            product = self.path.integers(part.codes, part.zero, self.packed)
            pieces = torch.split(product, len(self.step), dim=1)
            found += [
                (part.shift + shift, piece)
                for shift, piece in zip(self.shifts, pieces, strict=True)
            ]
        return found

    def _parts(self, codes: Tensor) -> tuple[Part, ...]:
        if codes.dtype == torch.int8:
            return (Part(codes=codes, zero=self.encoding.zero, shift=0),)
        return input_parts(codes)


def scaled(product: Tensor, step: Tensor | None, bias: Tensor | None) -> Tensor:
    """Return a product times its step, plus its bias, in its dtype and memory.

    Args:
        step, bias: (n,), or such that they broadcast.
    """
    real = product if step is None else product.mul_(step.to(product.dtype))
    return real if bias is None else real.add_(bias.to(product.dtype))


def exact_steps(step: Tensor) -> bool:
    """Tell whether products by steps cannot round, so that they may be made before sums are
    rounded as well as after: powers of 2, as those of two tensors of 16 bits are.

    Args:
        step: float64, of any shape.
    """
    return bool((torch.frexp(step).mantissa == 0.5).all()) and float(step.min()) >= _LEAST_STEP


def matrix_multiplier(
    weights: Weights, encoding: Encoding, step: Tensor, *, dtype: torch.dtype, path: BytePath
) -> Multiplier:
    """Return the fastest exact product for weights and inputs of these widths.

    Args:
        weights: (n, k).
        step: real value of 1 in the product of codes, float64 (n,) or ().
        dtype: of the values that come.
        path: how this processor multiplies bytes.

    Raises:
        SpecError: sums may reach beyond 2^53.
    """
    if dtype == torch.float32:
        steps = step.float().expand(len(weights.codes)).contiguous()
        if weights.codes.dtype == torch.int8 and encoding.narrow:
            if weights.heaviest * _BYTE <= path.limit:
                packed = weights.packed(path)
                return ByteMultiplier(path=path, packed=packed, encoding=encoding, step=steps)
        elif _parts_pay(weights, encoding, path) and weights.stack.heaviest * _BYTE <= PART_LIMIT:
            return PartsMultiplier(
                path=path,
                packed=weights.packed(path),
                shifts=weights.stack.shifts,
                encoding=encoding,
                step=steps,
            )
    exact = exact_dtype(weights.heaviest * encoding.largest)
    codes = weights.codes.t().to(exact).contiguous()
    if exact == torch.float64 and exact_steps(step):
        return FloatMultiplier(weights=codes.mul_(step), encoding=encoding, step=None)
    return FloatMultiplier(weights=codes, encoding=encoding, step=step)


def _stretches(count: int, *rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(torch.split(one, max(1, count)) for one in rows), strict=True)


def _parts_pay(weights: Weights, encoding: Encoding, path: BytePath) -> bool:
    """Tell whether the products of parts take less time than one in float64."""
    if isinstance(path, Full):
        return False
    return encoding.narrow or len(weights.parts) == 1 or weights.codes.shape[1] > _LONG
