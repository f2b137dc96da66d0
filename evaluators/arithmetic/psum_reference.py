"""Partial sums as codes, slowly and plainly, in 64-bit integers: what every other
implementation must equal, bit for bit."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from evaluators.arithmetic.psum_plan import PsumPlan

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PsumStep:
    """What one tile leaves.

    Attributes:
        codes: (m, n): the code that is stored.
        clipped: (m, n), bool: where it lies at an end because the sum lay beyond.
        stored: (m, n): all that is stored after it, in units of the integer product.
    """

    codes: Integers
    clipped: NDArray[np.bool_]
    stored: Integers


def psum_reference(x: Tensor, w: Tensor, plan: PsumPlan, *, zero_point: int = 0) -> Integers:
    """Return (x - zero_point) times w transposed, (m, n), in the arithmetic of a plan.

    Args:
        x: integers (m, k).
        w: integers (n, k).
    """
    *_, last = psum_steps(tile_products(x, w, plan, zero_point=zero_point), plan)
    return last.stored


def tile_products(
    x: Tensor, w: Tensor, plan: PsumPlan, *, zero_point: int = 0
) -> Iterator[Integers]:
    """Yield the integer product (m, n) of each tile."""
    codes = x.numpy().astype(np.int64) - zero_point
    weights = w.numpy().astype(np.int64)
    for begin, end in plan.ends:
        total = np.zeros((len(codes), len(weights)), dtype=np.int64)
        for index in range(begin, end):
            total += codes[:, index, None] * weights[None, :, index]
        yield total


def psum_steps(products: Iterator[Integers], plan: PsumPlan) -> Iterator[PsumStep]:
    """Yield what is stored after each tile, given the tiles' products in order.

    Q_t(v) = clamp((v + ((1 << e_t) >> 1)) >> e_t), rounding half up; D_t(q) = q << e_t.
    """
    stored: Integers = np.zeros((1, 1), dtype=np.int64)
    for step, product in enumerate(products):
        exponent = plan.exponents[step]
        total = product + stored if plan.folds(step) else product
        shifted = (total + (1 << exponent >> 1)) >> exponent
        codes = np.clip(shifted, plan.low, plan.high)
        stored = (codes << exponent) + (0 if plan.folds(step) else stored)
        yield PsumStep(codes=codes, clipped=codes != shifted, stored=stored)
