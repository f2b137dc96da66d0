"""The catalogue of knobs: what a design may choose."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One thing a design may choose, per layer.

    Attributes:
        choices: every value the catalogue allows, ascending.
        neutral: the value of a design that says nothing about this knob.
        unit: unit of the values.
        meaning: one sentence for users.
    """

    name: str
    choices: tuple[int, ...]
    neutral: int
    unit: str
    meaning: str


_BITS = (2, 3, 4, 5, 6, 7, 8, 16)

KNOBS: dict[str, Knob] = {
    knob.name: knob
    for knob in (
        Knob(
            name="w_bits",
            choices=_BITS,
            neutral=16,
            unit="bit",
            meaning="width of a layer's weights: 2..8 integer, 16 fixed point",
        ),
        Knob(
            name="a_bits",
            choices=_BITS,
            neutral=16,
            unit="bit",
            meaning="width of a layer's input activations: 2..8 integer, 16 fixed point",
        ),
    )
}
