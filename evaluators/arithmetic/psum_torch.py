"""Partial sums as codes by float matrix products, exact because nothing in them can round.

Weights of a tile are scaled by 2^-e, which no float rounds. A fold is then one `addmm`: it adds
what is stored, scaled from the last fold's unit to this one's, the tile's product, and the half of
the rounding, for which every tile has one more input, always 1. What comes out is an integer times
2^-e of at most 23 bits (of 52 in float64), and half of one more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from evaluators.arithmetic.psum_plan import PsumPlan
from evaluators.arithmetic.settings import in_full

FLOAT32_LIMIT, FLOAT64_LIMIT = 2**23, 2**52
# The stored sums of a block of rows stay in the second cache.
_BLOCK_ROWS = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FoldedWeights:
    """Weights for one plan.

    Attributes:
        tiles: of each tile, (1 + its length, n): halves, then weights times 2^-e.
    """

    plan: PsumPlan
    tiles: tuple[Tensor, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.tiles[0].dtype


def fold_weights(w: Tensor, plan: PsumPlan, dtype: torch.dtype) -> FoldedWeights:
    """Scale weights (n, k) for a plan."""
    tiles = []
    for (begin, end), exponent in zip(plan.ends, plan.exponents, strict=True):
        part = torch.full((1 + end - begin, len(w)), 0.5, dtype=dtype)
        torch.mul(w[:, begin:end].T.to(dtype), 2.0**-exponent, out=part[1:])
        tiles.append(part)
    return FoldedWeights(plan=plan, tiles=tuple(tiles))


def folded_product(x: Tensor, weights: FoldedWeights, *, zero_point: int = 0) -> Tensor:
    """Return (x - zero_point) times the weights transposed: integers held as floats, (m, n).

    Args:
        x: integers (m, k), in any dtype.
    """
    m, n, dtype = len(x), weights.tiles[0].shape[1], weights.dtype
    rows = min(m, _BLOCK_ROWS)
    out, beside = torch.empty(m, n, dtype=dtype), torch.empty(rows, n, dtype=dtype)
    inputs = _Inputs(rows, weights.plan, dtype)
    with in_full():
        for begin in range(0, m, _BLOCK_ROWS):
            block = x[begin : begin + _BLOCK_ROWS]
            tiles = inputs.tiles(block, zero_point)
            _accumulate(tiles, weights, out[begin : begin + _BLOCK_ROWS], beside[: len(block)])
    return out


@final
class _Inputs:
    """Blocks of rows, with a 1 before each tile; one piece of memory for all blocks."""

    def __init__(self, rows: int, plan: PsumPlan, dtype: torch.dtype) -> None:
        self._tile = min(plan.tile, plan.k)
        self._whole = plan.k // self._tile
        self._slots = torch.ones(rows, plan.tiles, 1 + self._tile, dtype=dtype)

    def tiles(self, x: Tensor, zero_point: int) -> list[Tensor]:
        """Return each tile of a block (rows, k), (rows, 1 + its length); the last call's are no
        longer valid."""
        slots = self._slots[: len(x)]
        cut = self._whole * self._tile
        slots[:, : self._whole, 1:] = x[:, :cut].reshape(len(x), -1, self._tile)
        rest = x.shape[1] - cut
        if rest:
            slots[:, -1, 1 : 1 + rest] = x[:, cut:]
        if zero_point:
            slots[:, :, 1:].sub_(zero_point)
        whole = list(slots[:, : self._whole].unbind(1))
        return [*whole, slots[:, -1, : 1 + rest]] if rest else whole


def _accumulate(
    tiles: Sequence[Tensor], weights: FoldedWeights, stored: Tensor, beside: Tensor
) -> None:
    plan = weights.plan
    unit = 0
    for step, tile in enumerate(tiles):
        exponent = plan.exponents[step]
        if not plan.folds(step):
            torch.mm(tile, weights.tiles[step], out=beside)
            beside.floor_().clamp_(plan.low, plan.high)
            stored.add_(beside, alpha=2.0 ** (exponent - unit))
            continue
        if step == 0:
            torch.mm(tile, weights.tiles[step], out=stored)
        else:
            stored.addmm_(tile, weights.tiles[step], beta=2.0 ** (unit - exponent))
        stored.floor_().clamp_(plan.low, plan.high)
        unit = exponent
    stored.mul_(2.0**unit)
