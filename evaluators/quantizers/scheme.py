"""How the tensors of a layer become integer codes."""

from dataclasses import dataclass

from evaluators.quantizers.fixed_point import FIXED_POINT_BITS

MMSE, ABSMAX, PERCENTILE = "mmse", "absmax", "percentile"
SYMMETRIC, ASYMMETRIC = "symmetric", "asymmetric"
TENSOR, CHANNEL = "tensor", "channel"


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
class Scheme:
    """What a design says of one layer.

    Attributes:
        weights: bits of the weights, or of a dynamic product's second operand.
        inputs: bits of the input activations.
        quantizer: what gives the ranges of activations: "mmse", "absmax" or "percentile".
        granularity: weights have one scale, "tensor", or one an output "channel".
        symmetry: ranges of activations are "symmetric" about 0, or "asymmetric".
    """

    weights: int
    inputs: int
    quantizer: str = MMSE
    granularity: str = TENSOR
    symmetry: str = SYMMETRIC

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
