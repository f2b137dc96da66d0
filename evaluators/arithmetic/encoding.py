"""Real values to integer codes, a stretch at a time.

Each step of it (scale, round, clamp, narrow) reads and writes all values; a stretch stays in the
processor's nearest caches from the first step to the last.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Of float32: 512 KiB.
_STRETCH = 2**17
_INT8 = 2**7


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """Codes clamp(round(scale * v) + zero, low, high), rounded half to even.

    Attributes:
        scale: codes per unit of the real value.
        zero: code of the real 0.
    """

    scale: float
    low: int
    high: int
    zero: int = 0

    @property
    def largest(self) -> int:
        """Largest magnitude of a centred code, code - zero."""
        return max(self.zero - self.low, self.high - self.zero)

    @property
    def narrow(self) -> bool:
        """Whether codes have 8 bits at most."""
        return self.high < _INT8

    def centred(self, values: Tensor) -> tuple[Tensor, bool]:
        """Return the centred codes of `values`, in their dtype, shape and order in memory, and
        whether the values are finite.

        Args:
            values: float32 or float64, `dense`.
        """
        codes = torch.empty_like(values)
        return codes, finite(self.write_centred(values, codes), values)

    def write_centred(self, values: Tensor, out: Tensor) -> float:
        """Write the centred codes of `values` to `out`, of their dtype, shape and order in memory,
        and return a figure for `finite`.

        Args:
            values: as of `centred`.
        """
        return sum(self.write(*pair) for pair in _stretches(values, out))

    def write_halves(self, values: Tensor, upper: Tensor, lower: Tensor) -> float:
        """Write the centred codes of `values`, of 16 bits, in two parts of like size: code = 256 *
        upper + lower, both within -128 .. 128; and return a figure for `finite`.

        Args:
            values: float32, `dense`.
            upper, lower: of the dtype, shape and order in memory of `values`.
        """
        total = 0.0
        for source, high, low in _stretches(values, upper, lower):
            total += self.write(source, low)
            torch.mul(low, 2.0**-8, out=high).round_()
            low.sub_(high, alpha=2.0**8)
        return total

    def write(self, values: Tensor, out: Tensor) -> float:
        """Do as `write_centred` at one go, for few values of any order in memory."""
        torch.mul(values, self.scale, out=out)
        total = out.sum().item()
        # Clamping after the zero point is added or with ends moved by it is the same thing.
        out.round_().clamp_(self.low - self.zero, self.high - self.zero)
        return total

    def stored(self, values: Tensor) -> tuple[Tensor, bool]:
        """Return the codes of `values` as int8 up to 8 bits and as int16 beyond, in their shape
        and order in memory, and whether the values are finite.

        Args:
            values: float32, `dense`.
        """
        codes = torch.empty_like(values, dtype=torch.int8 if self.narrow else torch.int16)
        scratch = torch.empty(min(_STRETCH, values.numel()))
        total = 0.0
        for source, target in _stretches(values, codes):
            total += source.sum().item()
            held = torch.mul(source, self.scale, out=scratch[: source.numel()]).round_()
            if self.zero:
                held.add_(self.zero)
            target.copy_(held.clamp_(self.low, self.high))
        return codes, finite(total, values)


def dense(values: Tensor) -> Tensor:
    """Return `values` laid out without gaps, in their own order in memory if that is so."""
    order = sorted(range(values.dim()), key=values.stride, reverse=True)
    return values if values.permute(order).is_contiguous() else values.contiguous()


def finite(total: float, values: Tensor) -> bool:
    """Tell whether values are finite, given the sum of the values or of their products with a
    scale: one sum costs less than looking at each value, but may overflow by itself."""
    return math.isfinite(total) or bool(values.isfinite().all())


def _stretches(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    flat = [_in_memory(one) for one in tensors]
    if len(flat[0]) <= _STRETCH:
        return iter([tuple(flat)])
    return zip(*(torch.split(one, _STRETCH) for one in flat), strict=True)


def _in_memory(tensor: Tensor) -> Tensor:
    """Return a dense tensor's elements, flat, as they lie."""
    return tensor.as_strided((tensor.numel(),), (1,))
