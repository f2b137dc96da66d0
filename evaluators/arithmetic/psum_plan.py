"""When partial sums become codes, and how large they may get on the way.

APSQ (Tan et al., arXiv 2505.03748): a reduction is cut into tiles; between two tiles a sum is not
kept at full width but as codes of `psum_bits`, each in units of a power of two. Every
`group_size`-th tile, and the last, folds all that is stored into one code; a tile between them is
stored as a code of its own. The recursion is that of the public code of DPSQ, which re-implements
the paper's; exponents for each tile are our reading.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dse.errors import SpecError

PSUM_BITS = range(2, 33)
_MOST_EXPONENT = 31
_INTEGERS = (torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PsumPlan:
    """How one product is accumulated.

    Attributes:
        k: length of the reduction.
        tile: its elements to a partial sum; the last tile may be shorter.
        group_size: tiles from one fold to the next.
        psum_bits: width of a stored code.
        exponents: log2 of the unit of each tile's code, in units of the integer product.
    """

    k: int
    tile: int
    group_size: int
    psum_bits: int
    exponents: tuple[int, ...]

    @property
    def tiles(self) -> int:
        return count_tiles(self.k, self.tile)

    @property
    def low(self) -> int:
        """Smallest code."""
        return -(1 << (self.psum_bits - 1))

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.psum_bits - 1)) - 1

    @property
    def shortest(self) -> "PsumPlan":
        """The plan of fewest tiles that gives the same: one, where codes are plain 32-bit
        sums."""
        if self.psum_bits < max(PSUM_BITS) or any(self.exponents):
            return self
        return PsumPlan(
            k=self.k, tile=self.k, group_size=1, psum_bits=self.psum_bits, exponents=(0,)
        )

    @property
    def ends(self) -> Iterator[tuple[int, int]]:
        """Yield begin and end of each tile."""
        for begin in range(0, self.k, self.tile):
            yield begin, min(begin + self.tile, self.k)

    def folds(self, step: int) -> bool:
        """Tell whether a tile takes all that is stored into its code (an APSQ step), or is
        stored beside it (a PSQ step)."""
        return folds(step, self.tiles, self.group_size)

    @property
    def fold_count(self) -> int:
        """How often the running sum is rounded."""
        return sum(self.folds(step) for step in range(self.tiles))

    def largest_sum(self, reach: Sequence[int]) -> int:
        """Return a bound on every number that comes up, the half of the rounding included.

        Args:
            reach: bound on the magnitude of each tile's own sum, in whatever order it is made.
        """
        stored = largest = 0
        for step, (own, exponent) in enumerate(zip(reach, self.exponents, strict=True)):
            folded = self.folds(step)
            rounded = own + (stored if folded else 0) + (1 << exponent >> 1)
            code = min(-self.low << exponent, rounded)
            stored = code if folded else stored + code
            largest = max(largest, rounded, stored)
        return largest


def make_plan(
    k: int, *, tile: int, group_size: int, psum_bits: int, exponents: Tensor | Sequence[int]
) -> PsumPlan:
    """Return a plan, once all of it can be used.

    Args:
        exponents: one per tile, 0..31: a sequence, or a 1-D integer tensor.

    Raises:
        SpecError: an argument that cannot be used.
    """
    tiles = count_tiles(k, tile)
    if group_size < 1:
        raise SpecError(f"group_size must be at least 1, got {group_size}")
    if psum_bits not in PSUM_BITS:
        raise SpecError(f"psum_bits must lie in 2..32, got {psum_bits}")
    figures = _exponents(exponents, tiles)
    return PsumPlan(k=k, tile=tile, group_size=group_size, psum_bits=psum_bits, exponents=figures)


def count_tiles(k: int, tile: int) -> int:
    """Return how many tiles a reduction of `k` elements is cut into.

    Raises:
        SpecError: either is not positive.
    """
    if k < 1:
        raise SpecError(f"the reduction must have at least 1 element, got {k}")
    if tile < 1:
        raise SpecError(f"tile must be at least 1, got {tile}")
    return -(-k // tile)


def folds(step: int, tiles: int, group_size: int) -> bool:
    """As `PsumPlan.folds`, of no particular plan."""
    return step % group_size == 0 or step == tiles - 1


def effective_group(tiles: int, group_size: int) -> int:
    """Return the smallest group size with the same steps: max(1, min(group_size, tiles - 1))."""
    return max(1, min(group_size, tiles - 1))


def _exponents(given: Tensor | Sequence[int], tiles: int) -> tuple[int, ...]:
    if isinstance(given, Tensor) and (given.dim() != 1 or given.dtype not in _INTEGERS):
        raise SpecError(
            f"exponents must be a 1-D integer tensor, got {given.dtype} of shape "
            f"{tuple(given.shape)}"
        )
    figures = tuple(int(figure) for figure in given)
    if len(figures) != tiles:
        raise SpecError(f"exponents must be one per tile, {tiles}, got {len(figures)}")
    wrong = [figure for figure in figures if not 0 <= figure <= _MOST_EXPONENT]
    if wrong:
        raise SpecError(f"exponents must lie in 0..{_MOST_EXPONENT}, got {wrong[0]}")
    return figures
