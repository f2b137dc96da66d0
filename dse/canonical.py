"""One form for all designs that compute the same: what has no effect stands at neutral."""

from collections.abc import Container, Mapping
from typing import Final

from dse.design import Design
from dse.knobs import KNOBS

# 16 bits are fixed point, always one symmetric range a tensor.
_WIDTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "act_quantizer": ("a_bits",),
    "w_granularity": ("w_bits",),
    "a_symmetry": ("a_bits",),
}
# Where both operands are activations, both are quantized as activations are.
_DYNAMIC_WIDTHS: Final[Mapping[str, tuple[str, ...]]] = {
    "act_quantizer": ("a_bits", "w_bits"),
    "w_granularity": (),
    "a_symmetry": ("a_bits", "w_bits"),
}


def governors(knob: str, *, dynamic: bool) -> tuple[str, ...] | None:
    """Return the knobs that decide whether `knob` has an effect at a layer: it has if any of
    them is off its neutral value there. None: it always has.

    Args:
        dynamic: both operands of the layer are activations.
    """
    return (_DYNAMIC_WIDTHS if dynamic else _WIDTHS).get(knob)


def idle(design: Design, knob: str, layer: str, *, dynamic: bool) -> bool:
    """Tell whether a design computes the same whatever `knob` stands at in `layer`."""
    names = governors(knob, dynamic=dynamic)
    if names is None:
        return False
    return all(design.value(name, layer) == KNOBS[name].neutral for name in names)


def canonical(design: Design, dynamic: Container[str]) -> Design:
    """Return the design that stands for all that compute the same, so that equal ones have
    equal hashes.

    Args:
        dynamic: names of the layers whose operands are both activations.
    """
    if not any(knob in _WIDTHS for knob in design.choices):
        return design
    return Design(
        {
            knob: {
                layer: KNOBS[knob].neutral
                if idle(design, knob, layer, dynamic=layer in dynamic)
                else value
                for layer, value in values.items()
            }
            for knob, values in design.choices.items()
        }
    )
