from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The integer codes of one tensor: clamp(round(scale * v), low, high).

    What goes through a float scale rounds half to even, as torch does.

    Attributes:
        scale: codes per unit of the real value; 0 for a tensor that is zero everywhere, whose
            codes are all 0.
        low: smallest code.
        high: largest code.
    """

    scale: float
    low: int
    high: int

    @property
    def step(self) -> float:
        """Real value of one code; 0 where the scale is 0."""
        return 1.0 / self.scale if self.scale else 0.0

    @property
    def largest(self) -> int:
        """Largest magnitude of a code."""
        return max(-self.low, self.high)

    def codes(self, values: Tensor) -> Tensor:
        """Return the codes of `values` as integers held in its own float dtype and shape."""
        return (values * self.scale).round_().clamp_(self.low, self.high)
