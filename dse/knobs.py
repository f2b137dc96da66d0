"""The catalogue of knobs: what a design may choose."""

from dataclasses import dataclass
from typing import Final, Literal

from dse.design import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One thing a design may choose.

    Attributes:
        choices: every value the catalogue allows; numbers ascending, words the neutral one first.
            A word among numbers stands where it belongs by size.
        neutral: the value of a design that says nothing about this knob.
        unit: unit of the values; empty for words.
        meaning: one sentence for users.
        scope: whether each layer has a choice of its own, or the whole design one.
        bound: it acts through a platform alone, so only one that offers it gives it an effect.
    """

    name: str
    choices: tuple[Value, ...]
    neutral: Value
    unit: str
    meaning: str
    scope: Literal["layer", "design"] = "layer"
    bound: bool = False

    @property
    def numeric(self) -> bool:
        """Whether all values are numbers, so that one is so many times another."""
        return not any(isinstance(choice, str) for choice in self.choices)

    @property
    def ordered(self) -> bool:
        """Whether one value is more than another: numbers, and a word among them."""
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
        Knob(
            name="psum_bits",
            choices=(4, 6, 8, 16, 32),
            neutral=32,
            unit="bit",
            meaning="width of the partial sums a layer stores between tiles; 32 is exact; "
            "no effect where a tile holds the sum, under dataflow os, or with a 16-bit operand",
            bound=True,
        ),
        Knob(
            name="psum_group",
            choices=(1, 2, 3, 4, "all"),
            neutral=1,
            unit="",
            meaning="partial sums that are stored side by side before they are folded into one: "
            "more round less and fill more of the buffer; no effect at 32 bits",
            bound=True,
        ),
        Knob(
            name="dataflow",
            choices=("ws", "is", "os"),
            neutral="ws",
            unit="",
            meaning="what stays in the array, one choice for the whole design: weights (ws), "
            "inputs (is), or outputs (os), whose sums are exact",
            scope="design",
            bound=True,
        ),
    )
}
