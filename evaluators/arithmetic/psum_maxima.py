"""The exponents of partial sums, from the largest sums that calibration data give."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dse.errors import SpecError
from evaluators.arithmetic.products import exact_dtype
from evaluators.arithmetic.psum_plan import PSUM_BITS, PsumPlan, count_tiles
from evaluators.arithmetic.settings import in_full

_BLOCK_ROWS = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PsumMaxima:
    """What one pass over exact sums leaves: enough for every group size and every width.

    Attributes:
        tiles: largest magnitude of each tile's own sum.
        sums: largest magnitude of the running sum after each tile.
    """

    tiles: tuple[int, ...]
    sums: tuple[int, ...]

    def exponents(self, *, group_size: int, psum_bits: int) -> Tensor:
        """Return the smallest exponents, int64 (tiles,), at which no sum seen clips.

        At a fold the running sum is stored, elsewhere the tile's own. The sum is the exact one:
        at run time it differs by earlier roundings, and may clip by a little.

        Raises:
            SpecError: a group size or width that cannot be.
        """
        if group_size < 1:
            raise SpecError(f"group_size must be at least 1, got {group_size}")
        if psum_bits not in PSUM_BITS:
            raise SpecError(f"psum_bits must lie in 2..32, got {psum_bits}")
        plan = PsumPlan(
            k=len(self.tiles), tile=1, group_size=group_size, psum_bits=psum_bits, exponents=()
        )
        found = [
            _exponent(self.sums[step] if plan.folds(step) else self.tiles[step], plan.high)
            for step in range(plan.tiles)
        ]
        return torch.tensor(found, dtype=torch.int64)


def calibrate_exponents(x: Tensor, w: Tensor, *, tile: int, zero_point: int = 0) -> PsumMaxima:
    """Look at the exact sums of (x - zero_point) times w transposed, once.

    Args:
        x: integers (m, k) in any dtype: what calibration samples bring to a layer.
        w: integers (n, k).
        tile: elements of the reduction to a partial sum.

    Returns:
        What gives the exponents at any group size and width.

    Raises:
        SpecError: operands that do not match, or a tile that is not positive.
    """
    if x.dim() != 2 or w.dim() != 2 or x.shape[1] != w.shape[1]:
        raise SpecError(
            f"x and w must have shapes (m, k) and (n, k), "
            f"got {tuple(x.shape)} and {tuple(w.shape)}"
        )
    k = w.shape[1]
    count_tiles(k, tile)
    dtype = exact_dtype(_heaviest(w) * _largest(x, zero_point))
    tiles = [w[:, begin : begin + tile].to(dtype).T.contiguous() for begin in range(0, k, tile)]
    # (own, running): one figure a tile
    seen = torch.zeros(2, len(tiles), dtype=torch.float64)
    with in_full():
        for rows in torch.split(x, _BLOCK_ROWS):
            block = rows.to(dtype) - zero_point
            _look(block, tiles, tile, seen)
    own, running = (tuple(int(figure) for figure in row) for row in seen)
    return PsumMaxima(tiles=own, sums=running)


def largest_of(parts: Iterable[PsumMaxima]) -> PsumMaxima:
    """Return the maxima over several sets of data."""
    all_parts = tuple(parts)
    tiles = zip(*(part.tiles for part in all_parts), strict=True)
    sums = zip(*(part.sums for part in all_parts), strict=True)
    return PsumMaxima(tiles=tuple(map(max, tiles)), sums=tuple(map(max, sums)))


def _look(x: Tensor, tiles: list[Tensor], tile: int, seen: Tensor) -> None:
    running = torch.zeros(len(x), tiles[0].shape[1], dtype=x.dtype)
    own = torch.empty_like(running)
    for step, weights in enumerate(tiles):
        torch.mm(x[:, step * tile : (step + 1) * tile], weights, out=own)
        running.add_(own)
        for row, sums in enumerate((own, running)):
            seen[row, step] = max(float(seen[row, step]), _largest(sums, 0))


def _exponent(largest: int, high: int) -> int:
    exponent = 0
    while high << exponent < largest:
        exponent += 1
    return exponent


def _heaviest(w: Tensor) -> int:
    return int(w.double().abs_().sum(dim=1).max()) if w.numel() else 0


def _largest(x: Tensor, zero_point: int) -> int:
    if not x.numel():
        return 0
    return max(abs(int(end) - zero_point) for end in x.aminmax())
