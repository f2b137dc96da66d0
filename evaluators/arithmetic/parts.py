"""Wide codes as sums of small ones, whose products are exact where theirs are not.

code = sum over parts of 2^shift * part, each part an int8. A product of two wide codes is the sum
of the products of their parts, each exact; joined in float64, which holds all their sums, it is
rounded once, as the product itself would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_INT8 = 2**7
# Of float64: 256 KiB.
_STRETCH = 2**15


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """A part of codes.

    Attributes:
        codes: int8.
        zero: what is to be taken from each: part = code - zero.
        shift: power of 2 that the part counts for.
    """

    codes: Tensor
    zero: int
    shift: int


def input_parts(codes: Tensor) -> tuple[Part, Part]:
    """Return codes of 16 bits, int16, as their two bytes: the upper with the sign, the lower
    0 .. 255."""
    # torch narrows integers modulo 2^8
    low = codes.to(torch.int8).bitwise_xor_(-_INT8)
    return (
        Part(codes=(codes >> 8).to(torch.int8), zero=0, shift=8),
        Part(codes=low, zero=-_INT8, shift=0),
    )


def weight_parts(codes: Tensor) -> tuple[Part, ...]:
    """Return codes, int8 or int16, as as few parts as there must be, all about 0 and as small as
    may be: small parts have small sums."""
    if codes.dtype == torch.int8:
        return (Part(codes=codes, zero=0, shift=0),)
    bits = int(codes.int().abs().max()).bit_length() + 1
    for count in (1, 2, 3):
        width = -(-bits // count)
        parts = _digits(codes.int(), width, count)
        if width <= 8 and all(_fits(part) for part in parts):
            return tuple(
                Part(codes=part.to(torch.int8), zero=0, shift=width * place)
                for place, part in enumerate(parts)
            )
    raise AssertionError("16 bits are three parts of 6")


def _digits(codes: Tensor, width: int, count: int) -> list[Tensor]:
    base, half = 1 << width, 1 << (width - 1)
    digits = []
    for _ in range(count - 1):
        digit = ((codes + half) & (base - 1)) - half
        digits.append(digit)
        codes = (codes - digit) >> width
    return [*digits, codes]


def _fits(part: Tensor) -> bool:
    return -_INT8 <= int(part.min()) and int(part.max()) < _INT8


def join(products: Sequence[tuple[int, Tensor]], out: Tensor) -> None:
    """Write the sum of products, each times 2 to the power before it, rounded once.

    Args:
        products: integers of the shape of `out`, float32 or int32; sums stay within 2^53, and
            within 2^24 each if float32.
        out: float32.
    """
    products = sorted(products, key=lambda one: one[0])
    if len(products) == 1 and products[0][0] == 0:
        out.copy_(products[0][1])
    elif len(products) == 2 and all(product.dtype == torch.float32 for _, product in products):
        # A product by a power of 2 is exact, so the sum alone is rounded.
        (low, first), (high, other) = products
        torch.add(first, other, alpha=2 ** (high - low), out=out)
        if low:
            out.mul_(2.0**low)
    else:
        rows = max(1, _STRETCH // max(1, out[:1].numel()))
        pieces = [torch.split(product, rows) for _, product in products]
        for target, *terms in zip(torch.split(out, rows), *pieces, strict=True):
            target.copy_(_sum([shift for shift, _ in products], terms))


def _sum(shifts: Sequence[int], terms: Sequence[Tensor]) -> Tensor:
    total = terms[0].double()
    if shifts[0]:
        total.mul_(2.0 ** shifts[0])
    wide = torch.empty_like(total)
    for shift, term in zip(shifts[1:], terms[1:], strict=True):
        total.add_(wide.copy_(term), alpha=2.0**shift)
    return total
