"""Reading what a task asks for: the widths of every layer."""

from collections.abc import Mapping

from dse.design import Choices
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from evaluators.evaluation import HONOURED
from evaluators.quantizers.layers import Widths


def read_widths(
    choices: Choices,
    arithmetic: Mapping[str, Mapping[str, int | str]],
    layers: tuple[str, ...],
) -> dict[str, Widths]:
    """Return the widths of each layer; knobs left out stand at their neutral value.

    Raises:
        SpecError: a knob value or an arithmetic that cannot be obeyed.
        UnknownNameError: a knob or layer that does not exist.
    """
    check_arithmetic(arithmetic, layers)
    for knob, values in choices.items():
        _check_values(knob, values, layers)
    bits = {
        knob: {layer: choices.get(knob, {}).get(layer, KNOBS[knob].neutral) for layer in layers}
        for knob in HONOURED
    }
    return {
        layer: Widths(weights=bits["w_bits"][layer], inputs=bits["a_bits"][layer])
        for layer in layers
    }


def check_arithmetic(
    arithmetic: Mapping[str, Mapping[str, int | str]], layers: tuple[str, ...]
) -> None:
    """Refuse what no evaluator obeys; errors as `read_widths`."""
    for layer, said in arithmetic.items():
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        if said:
            raise SpecError(
                f"arithmetic at layer {layer!r} must be empty (plain integer products), "
                f"got {dict(said)}"
            )


def _check_values(knob: str, values: Mapping[str, int], layers: tuple[str, ...]) -> None:
    if knob not in KNOBS:
        raise UnknownNameError("knob", knob, sorted(KNOBS))
    known = KNOBS[knob]
    allowed = known.choices if knob in HONOURED else (known.neutral,)
    for layer, value in values.items():
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        if value not in allowed:
            raise SpecError(f"{knob} at layer {layer!r} must be one of {allowed}, got {value}")
