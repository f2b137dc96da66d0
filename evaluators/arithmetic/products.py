"""Integer matrix products in floating point, exact because nothing in them can round.

Every partial sum of a product, in whatever order a library forms it, is an integer no larger
than sum |w| * max |x| of its column. While that stays within the integers that a float holds
without gaps, the float product is the integer product.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from dse.errors import SpecError

_EXACT = ((torch.float32, 2**24), (torch.float64, 2**53))


def exact_dtype(weights: Tensor, *, largest_input: int) -> torch.dtype:
    """Return the narrowest float dtype in which products with `weights` are exact.

    Args:
        weights: integer codes of at most 16 bits held as floats, (n, k).
        largest_input: largest magnitude of an input code.

    Raises:
        SpecError: the sums may exceed 2^53.
    """
    bound = int(weights.double().abs().sum(dim=1).max()) * largest_input
    for dtype, limit in _EXACT:
        if bound <= limit:
            return dtype
    raise SpecError(f"sums of integer products must stay within 2^53, may reach {bound}")


def integer_product(inputs: Tensor, weights: Tensor) -> Tensor:
    """Return inputs (..., k) times weights (n, k) transposed: integers held as floats, (..., n).

    Both operands have the dtype that `exact_dtype` gives.
    """
    return functional.linear(inputs, weights)


def integer_product_oracle(inputs: Tensor, weights: Tensor) -> NDArray[np.int64]:
    """Return the same product, slowly, in 64-bit integers: the oracle of the tests."""
    x = inputs.numpy().astype(np.int64)
    w = weights.numpy().astype(np.int64)
    total = np.zeros((*x.shape[:-1], w.shape[0]), dtype=np.int64)
    for index in range(w.shape[1]):
        total += x[..., index, None] * w[:, index]
    return total
