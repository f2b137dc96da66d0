"""How the tensors of a layer become integer codes."""

from dataclasses import dataclass
from typing import Final

from evaluators.quantizers.fixed_point import FIXED_POINT_BITS

MMSE, ABSMAX, PERCENTILE = "mmse", "absmax", "percentile"
SYMMETRIC, ASYMMETRIC = "symmetric", "asymmetric"
TENSOR, CHANNEL = "tensor", "channel"
ALL: Final = 2**31
"""A group size that no reduction has tiles for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How the grid of a tensor follows from its values; at 16 bits the width alone counts.

    Attributes:
        bits: 2..8 or 16.
        quantizer: what gives the range: "mmse", "absmax" or "percentile".
        symmetry: "symmetric" about 0, or "asymmetric".
    """

    bits: int
    quantizer: str = MMSE
    symmetry: str = SYMMETRIC

    @property
    def effective(self) -> "Rule":
        """The one rule of all that give the same grids."""
        return Rule(bits=FIXED_POINT_BITS) if self.bits == FIXED_POINT_BITS else self


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialSums:
    """How the sums of a layer are stored between the tiles of its reduction.

    Attributes:
        tile: elements of the reduction to a partial sum.
        bits: width of a stored code.
        group: tiles from one fold of all stored codes to the next, `ALL` for those at both ends
            alone.
    """

    tile: int
    bits: int
    group: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """What a design says of one layer.

    Attributes:
        weights: bits of the weights, or of a dynamic product's second operand.
        inputs: bits of the input activations.
        quantizer: what gives the ranges of activations: "mmse", "absmax" or "percentile".
        granularity: weights have one scale, "tensor", or one an output "channel".
        symmetry: ranges of activations are "symmetric" about 0, or "asymmetric".
        sums: how partial sums are stored; None: sums are exact.
    """

    weights: int
    inputs: int
    quantizer: str = MMSE
    granularity: str = TENSOR
    symmetry: str = SYMMETRIC
    sums: PartialSums | None = None

    @property
    def input_rule(self) -> Rule:
        return Rule(bits=self.inputs, quantizer=self.quantizer, symmetry=self.symmetry).effective

    @property
    def second_rule(self) -> Rule:
        """Of a dynamic product's second operand."""
        return Rule(bits=self.weights, quantizer=self.quantizer, symmetry=self.symmetry).effective

    @property
    def by_channel(self) -> bool:
        return self.granularity == CHANNEL and self.weights != FIXED_POINT_BITS
