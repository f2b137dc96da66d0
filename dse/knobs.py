"""The catalogue of knobs: what a design may choose."""

from dataclasses import dataclass
from typing import Final

from dse.design import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One thing a design may choose, per layer.

    Attributes:
        choices: every value the catalogue allows; numbers ascending, words the neutral one first.
        neutral: the value of a design that says nothing about this knob.
        unit: unit of the values; empty for words.
        meaning: one sentence for users.
    """

    name: str
    choices: tuple[Value, ...]
    neutral: Value
    unit: str
    meaning: str

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers, so that one is more than another."""
        return not isinstance(self.neutral, str)


BITS: Final = (2, 3, 4, 5, 6, 7, 8, 16)
"""Widths of operands."""

KNOBS: dict[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob(
            name="w_bits",
            choices=BITS,
            neutral=16,
            unit="bit",
            meaning="width of a layer's weights, or of the second operand where both are "
            "activations: 2..8 integer, 16 fixed point",
        ),
        Knob(
            name="a_bits",
            choices=BITS,
            neutral=16,
            unit="bit",
            meaning="width of a layer's input activations: 2..8 integer, 16 fixed point",
        ),
        Knob(
            name="act_quantizer",
            choices=("mmse", "absmax", "percentile"),
            neutral="mmse",
            unit="",
            meaning="how the range of a layer's input activations is chosen: least mean square "
            "error, greatest magnitude, or a high percentile; no effect at 16 bits",
        ),
        Knob(
            name="w_granularity",
            choices=("tensor", "channel"),
            neutral="tensor",
            unit="",
            meaning="one scale for a layer's weights, or one for each output channel; no effect "
            "at 16 bits, nor where both operands are activations",
        ),
        Knob(
            name="a_symmetry",
            choices=("symmetric", "asymmetric"),
            neutral="symmetric",
            unit="",
            meaning="whether the range of a layer's input activations is symmetric about 0, or "
            "lies anywhere by a zero point; no effect at 16 bits",
        ),
    )
}
