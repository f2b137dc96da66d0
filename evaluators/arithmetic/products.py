"""Integer matrix products in floating point, exact because nothing in them can round.

Every partial sum of a product, in whatever order a library forms it, is an integer no larger
than sum |w| * max |x| of its column. While that stays within the integers that a float holds
without gaps, the float product is the integer product.

Codes with a zero point z come centred: x - z, an integer as well. Sums of (x - z) w are those of
x w, less z times sum w, which is what an accelerator that multiplies the stored codes computes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dse.errors import SpecError
from evaluators.arithmetic.settings import in_full

_EXACT = ((torch.float32, 2**24), (torch.float64, 2**53))


def exact_dtype(largest_sum: int) -> torch.dtype:
    """Return the narrowest float dtype that holds every integer up to a magnitude.

    Args:
        largest_sum: bound on the partial sums of a product.

    Raises:
        SpecError: it exceeds 2^53.
    """
    for dtype, limit in _EXACT:
        if largest_sum <= limit:
            return dtype
    raise SpecError(f"sums of integer products must stay within 2^53, may reach {largest_sum}")


def heaviest_column(weights: Tensor) -> int:
    """Return the largest sum |w| of an output channel: times the largest magnitude of an input
    code, a bound on the partial sums.

    Args:
        weights: integer codes of at most 16 bits, (n, …), in any dtype.
    """
    return int(weights.to(torch.int32).abs_().flatten(1).sum(dim=1).max())


def integer_product(inputs: Tensor, weights: Tensor) -> Tensor:
    """Return inputs (..., k) times weights (n, k) transposed: integers held as floats, (..., n).

    Both operands have the dtype that `exact_dtype` gives.
    """
    with in_full():
        return functional.linear(inputs, weights)


def integer_product_oracle(inputs: Tensor, weights: Tensor) -> NDArray[np.int64]:
    """Return the same product, slowly, in 64-bit integers: the oracle of the tests."""
    x = inputs.numpy().astype(np.int64)
    w = weights.numpy().astype(np.int64)
    total = np.zeros((*x.shape[:-1], w.shape[0]), dtype=np.int64)
    for index in range(w.shape[1]):
        total += x[..., index, None] * w[:, index]
    return total


def integer_matmul(first: Tensor, second: Tensor) -> Tensor:
    """Return first (..., m, k) times second (..., k, n), as `torch.matmul` takes them: integers
    held as floats.

    Both operands have the dtype that `exact_dtype` gives for k times the largest magnitudes of
    both.
    """
    with in_full():
        return torch.matmul(first, second)


def integer_matmul_oracle(first: Tensor, second: Tensor) -> NDArray[np.int64]:
    """Return the same product of operands of at least two dimensions, slowly, in 64-bit
    integers."""
    a = first.numpy().astype(np.int64)
    b = second.numpy().astype(np.int64)
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    total = np.zeros((*leading, a.shape[-2], b.shape[-1]), dtype=np.int64)
    for index in range(a.shape[-1]):
        total += a[..., :, index, None] * b[..., index, None, :]
    return total
