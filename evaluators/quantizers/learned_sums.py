"""Exponents of partial sums that are learned with the weights.

LSQ (Esser et al. 2020, arXiv 1902.08153) learns a quantizer's step by the gradient of its output,
q - v / step inside the range and the code at its end outside; restricted to a power of two, its
log2 is learned and rounded, straight-through. That APSQ's own steps are so is our reading.
"""

from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn

from evaluators.arithmetic.psum_maxima import PsumUnits
from evaluators.arithmetic.psum_plan import PsumPlan, make_plan
from evaluators.arithmetic.psum_torch import FLOAT32_LIMIT
from evaluators.quantizers.partial_sums import Summation
from evaluators.quantizers.scheme import PartialSums, Scheme

_MOST_EXPONENT: Final = 31
# Largest product of two centred codes of 8 bits.
_LARGEST: Final = 2**7 * 2**8


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned of one layer; it holds at this scheme alone.

    Attributes:
        exponents: one a tile.
    """

    scheme: Scheme
    exponents: tuple[int, ...]

    @property
    def summation(self) -> Summation:
        """How sums are stored at the scheme."""
        assert self.scheme.sums is not None
        units = PsumUnits(tiles=self.exponents, sums=self.exponents)
        return Summation(sums=self.scheme.sums, units=units)


@final
class LearnedExponents:
    """The exponents of a layer in training.

    Attributes:
        k: length of the reduction.
        tile: its elements to a partial sum.
        log2: log2 of each tile's step, (tiles,): a parameter.
    """

    def __init__(self, k: int, sums: PartialSums) -> None:
        self.k = k
        self.tile = sums.tile
        self._sums = sums
        tiles = -(-k // sums.tile)
        self.log2 = nn.Parameter(torch.full((tiles,), torch.nan))

    @property
    def begun(self) -> bool:
        """Whether the exponents stand anywhere."""
        return not bool(self.log2.isnan().any())

    def begin(self, summation: Summation) -> None:
        """Start from calibrated exponents."""
        found = summation.exponents(self.k)
        self.log2.data = torch.tensor(found, dtype=self.log2.dtype)

    @property
    def exponents(self) -> tuple[int, ...]:
        """The exponents as they stand."""
        return whole(self.log2)

    def product(self, x: Tensor, w: Tensor) -> Tensor:
        """Return x (m, k) times w (n, k) transposed, of centred codes, with stored sums; its
        gradient is that of the exponents alone."""
        plan = make_plan(
            self.k,
            tile=self._sums.tile,
            group_size=self._sums.group,
            psum_bits=self._sums.bits,
            exponents=self.exponents,
        )
        narrow = plan.largest_sum([_LARGEST * (end - begin) for begin, end in plan.ends])
        dtype = torch.float32 if narrow < FLOAT32_LIMIT else torch.float64
        x, w = x.detach().to(dtype), w.detach().to(dtype)
        # LSQ, section 2.2: the gradient's scale, by the outputs and the levels
        scale = (len(x) * len(w) * plan.high) ** -0.5
        log2 = self.log2 * scale + (self.log2 * (1 - scale)).detach()
        steps = torch.exp2((log2 + (_whole(log2) - log2).detach()).to(dtype))
        stored = torch.zeros(1, 1, dtype=dtype)
        for t, (begin, end) in enumerate(plan.ends):
            total = x[:, begin:end] @ w[:, begin:end].T
            if plan.folds(t):
                stored = _code(total + stored, steps[t], plan)
            else:
                stored = stored + _code(total, steps[t], plan)
        return stored


def whole(log2: Tensor) -> tuple[int, ...]:
    """Return the exponents that stand for logarithms."""
    return tuple(int(e) for e in _whole(log2))


def _code(total: Tensor, step: Tensor, plan: PsumPlan) -> Tensor:
    exact = total / step
    rounded = exact + ((exact + 0.5).floor() - exact).detach()
    return rounded.clamp(plan.low, plan.high) * step


def _whole(log2: Tensor) -> Tensor:
    return log2.detach().round().clamp(0, _MOST_EXPONENT)
