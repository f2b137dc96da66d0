from dataclasses import dataclass

import torch
from torch import Tensor

from evaluators.arithmetic.encoding import Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The integer codes of one tensor: clamp(round(scale * v) + zero, low, high).

    What goes through a float scale rounds half to even, as torch does.

    Attributes:
        scale: codes per unit of the real value; 0 for a tensor that is zero everywhere, whose
            codes are all `zero`.
        low: smallest code.
        high: largest code.
        zero: code of the real value 0, within low .. high.
    """

    scale: float
    low: int
    high: int
    zero: int = 0

    @property
    def step(self) -> float:
        """Real value of one code; 0 where the scale is 0."""
        return 1.0 / self.scale if self.scale else 0.0

    @property
    def least(self) -> int:
        """Smallest centred code."""
        return self.low - self.zero

    @property
    def most(self) -> int:
        """Largest centred code."""
        return self.high - self.zero

    @property
    def largest(self) -> int:
        """Largest magnitude of a centred code."""
        return max(-self.least, self.most)

    @property
    def encoding(self) -> Encoding:
        """The grid as integer arithmetic takes it."""
        return Encoding(scale=self.scale, low=self.low, high=self.high, zero=self.zero)

    def codes(self, values: Tensor) -> Tensor:
        """Return the centred codes of `values`, code - zero, in its shape: integers held in its
        own float dtype, in float32 at least."""
        return (_wide(values) * self.scale).round_().clamp_(self.least, self.most)

    def real(self, codes: Tensor) -> Tensor:
        """Return the real values of centred codes, in their dtype."""
        return codes * self.step


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGrid:
    """The integer codes of a weight with a scale an output channel, its first dimension.

    Attributes:
        scales: codes per unit of the real value, one a channel; 0 as in `Grid`.
        low: smallest code.
        high: largest code.
    """

    scales: tuple[float, ...]
    low: int
    high: int

    @property
    def steps(self) -> tuple[float, ...]:
        """Real value of one code, of each channel."""
        return tuple(1.0 / scale if scale else 0.0 for scale in self.scales)

    def codes(self, weight: Tensor) -> Tensor:
        """Return the codes of `weight`, as `Grid` does with each channel's scale."""
        wide = _wide(weight)
        return (wide * along(self.scales, wide)).round_().clamp_(self.low, self.high)

    def real(self, codes: Tensor) -> Tensor:
        """Return the real values of codes of this grid, in their dtype."""
        return codes * along(self.steps, codes)


def along(figures: tuple[float, ...], weight: Tensor) -> Tensor:
    """Return a figure a channel so that it broadcasts along a weight's first dimension."""
    shape = (-1,) + (1,) * (weight.dim() - 1)
    return torch.tensor(figures, dtype=weight.dtype).reshape(shape)


def _wide(values: Tensor) -> Tensor:
    # halves do not hold all codes of 16 bits
    return values.to(torch.promote_types(values.dtype, torch.float32))
