"""Products of two activations, from real operands to real results, as
`evaluators.arithmetic.multipliers` has them for weights."""

from typing import Final, final

import torch
from torch import Tensor

from evaluators.arithmetic.encoding import Encoding, dense, finite
from evaluators.arithmetic.products import integer_matmul
from evaluators.arithmetic.settings import in_full

# Elements of operands and result that are at work at once, some of them in float64.
_AT_ONCE: Final = 2**17


def encoded_matmul(
    first: Tensor,
    second: Tensor,
    encodings: tuple[Encoding, Encoding],
    *,
    exact: torch.dtype,
    step: float,
) -> tuple[Tensor, tuple[bool, bool]]:
    """Return the product of the codes of two operands, as `torch.matmul` takes them, rounded,
    times `step`; and whether the values of each are finite.

    Args:
        first, second: (..., m, k) and (..., k, n), float32 or float64.
        encodings: of both.
        exact: float dtype that keeps the sums.
    """
    alike = first.dim() == second.dim() > 2 and first.shape[:-2] == second.shape[:-2]
    narrow = first.dtype == second.dtype == torch.float32
    if alike and narrow and exact == torch.float64 and first.shape[0]:
        return _piecewise(first, second, encodings, step)
    pairs = zip((first, second), encodings, strict=True)
    (a, of_a), (b, of_b) = (encoding.centred(dense(values)) for values, encoding in pairs)
    product = integer_matmul(a.to(exact), b.to(exact))
    return product.to(torch.promote_types(a.dtype, b.dtype)).mul_(step), (of_a, of_b)


def _piecewise(
    first: Tensor, second: Tensor, encodings: tuple[Encoding, Encoding], step: float
) -> tuple[Tensor, tuple[bool, bool]]:
    """Multiply in float64, a few matrices at a time: from values to results, they stay in the
    processor's caches."""
    m, n = first.shape[-2], second.shape[-1]
    real = torch.empty(*first.shape[:-1], n)
    each = first[0].numel() + second[0].numel() + real[0].numel()
    count = min(len(first), max(1, _AT_ONCE // max(1, each)))
    left, right = _Operand(first, encodings[0], count), _Operand(second, encodings[1], count)
    room = torch.empty(real[:count].numel() // max(1, m * n), m, n, dtype=torch.float64)
    with in_full():
        for begin in range(0, len(first), count):
            a, b = left.codes(begin), right.codes(begin)
            target = real[begin : begin + count]
            product = torch.bmm(a, b, out=room[: len(a)])
            target.copy_(product.view(target.shape)).mul_(step)
    return real, (left.finite, right.finite)


@final
class _Operand:
    """Matrices of an operand as codes in float64, a few at a time, always in the same memory."""

    def __init__(self, values: Tensor, encoding: Encoding, count: int) -> None:
        # Columns that lie in memory as rows are read as they lie.
        self._turned = values.stride(-1) != 1
        self._values = values.mT if self._turned else values
        self._encoding = encoding
        self._codes = torch.empty(count, *self._values.shape[1:])
        self._wide = torch.empty_like(self._codes, dtype=torch.float64)
        self._total = 0.0

    @property
    def finite(self) -> bool:
        """Whether all values so far are."""
        return finite(self._total, self._values)

    def codes(self, begin: int) -> Tensor:
        """Return the matrices from one on, (matrices, ...); the last call's are no longer
        valid."""
        source = self._values[begin : begin + len(self._codes)]
        codes, wide = self._codes[: len(source)], self._wide[: len(source)]
        self._total += self._encoding.write(source, codes)
        flat = wide.copy_(codes).flatten(0, -3)
        return flat.mT if self._turned else flat
