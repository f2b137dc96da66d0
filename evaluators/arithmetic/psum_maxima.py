"""The exponents of partial sums, from the largest sums that calibration data give."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import final

import torch
from torch import Tensor

from dse.errors import SpecError
from evaluators.arithmetic.products import exact_dtype
from evaluators.arithmetic.psum_plan import PSUM_BITS, count_tiles, folds
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

    def units(self, psum_bits: int) -> "PsumUnits":
        """Return the smallest units at which no sum seen clips.

        The running sum is the exact one: at run time it differs by earlier roundings, and may
        clip by a little.

        Raises:
            SpecError: a width that cannot be.
        """
        if psum_bits not in PSUM_BITS:
            raise SpecError(f"psum_bits must lie in 2..32, got {psum_bits}")
        high = (1 << (psum_bits - 1)) - 1
        return PsumUnits(
            tiles=tuple(_exponent(largest, high) for largest in self.tiles),
            sums=tuple(_exponent(largest, high) for largest in self.sums),
        )

    def exponents(self, *, group_size: int, psum_bits: int) -> Tensor:
        """Return the exponents of a plan, int64 (tiles,), by `units`.

        Raises:
            SpecError: a group size or width that cannot be.
        """
        found = self.units(psum_bits).exponents(len(self.tiles), group_size)
        return torch.tensor(found, dtype=torch.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PsumUnits:
    """The exponents of one width at every group size.

    Attributes:
        tiles: of each tile where it is stored alone.
        sums: of each tile where all that is stored is folded into it.
    """

    tiles: tuple[int, ...]
    sums: tuple[int, ...]

    def exponents(self, tiles: int, group_size: int) -> tuple[int, ...]:
        """Return those of a reduction of so many tiles; tiles beyond those known are taken to be
        as the last.

        Raises:
            SpecError: a group size that cannot be.
        """
        if group_size < 1:
            raise SpecError(f"group_size must be at least 1, got {group_size}")
        last = len(self.tiles) - 1
        return tuple(
            (self.sums if folds(step, tiles, group_size) else self.tiles)[min(step, last)]
            for step in range(tiles)
        )


def calibrate_exponents(x: Tensor, w: Tensor, *, tile: int, zero_point: int = 0) -> PsumMaxima:
    """Look at the exact sums of (x - zero_point) times w transposed, once.

    Args:
        x: integers (…, m, k) in any dtype: what calibration samples bring to a layer.
        w: integers (…, n, k).
        tile: elements of the reduction to a partial sum.

    Returns:
        What gives the exponents at any group size and width.

    Raises:
        SpecError: operands that do not match, or a tile that is not positive.
    """
    if x.dim() < 2 or w.dim() < 2 or x.shape[-1] != w.shape[-1]:
        raise SpecError(
            f"x and w must have shapes (…, m, k) and (…, n, k), "
            f"got {tuple(x.shape)} and {tuple(w.shape)}"
        )
    k = w.shape[-1]
    tiles = count_tiles(k, tile)
    dtype = exact_dtype(_heaviest(w) * _largest(x, zero_point))
    weights = [part.to(dtype).mT.contiguous() for part in torch.split(w, tile, dim=-1)]
    seen = _Seen(tiles)
    with in_full():
        for rows in torch.split(x, _BLOCK_ROWS, dim=-2):
            seen.look(torch.split(rows.to(dtype) - zero_point, tile, dim=-1), weights)
    return PsumMaxima(tiles=tuple(seen.own), sums=tuple(seen.running))


def largest_of(parts: Iterable[PsumMaxima]) -> PsumMaxima:
    """Return the maxima over several sets of data, of which some may have fewer tiles."""
    all_parts = tuple(parts)
    tiles = zip_longest(*(part.tiles for part in all_parts), fillvalue=0)
    sums = zip_longest(*(part.sums for part in all_parts), fillvalue=0)
    return PsumMaxima(tiles=tuple(map(max, tiles)), sums=tuple(map(max, sums)))


@final
class _Seen:
    """The largest magnitudes so far, one a tile."""

    def __init__(self, tiles: int) -> None:
        self.own = [0] * tiles
        self.running = [0] * tiles

    def look(self, x: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        running = torch.matmul(x[0], weights[0])
        own = running
        for step in range(len(x)):
            if step:
                own = torch.matmul(x[step], weights[step])
                running.add_(own)
            self.own[step] = max(self.own[step], _largest(own, 0))
            self.running[step] = max(self.running[step], _largest(running, 0))


def _exponent(largest: int, high: int) -> int:
    exponent = 0
    while high << exponent < largest:
        exponent += 1
    return exponent


def _heaviest(w: Tensor) -> int:
    return int(w.double().abs_().sum(dim=-1).max()) if w.numel() else 0


def _largest(x: Tensor, zero_point: int) -> int:
    if not x.numel():
        return 0
    return max(abs(int(end) - zero_point) for end in x.aminmax())
