"""Reading what a task asks for: the scheme of every layer."""

from collections.abc import Mapping

from dse.design import Choices, Value
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from evaluators.evaluation import HONOURED
from evaluators.quantizers.scheme import Scheme


def read_schemes(
    choices: Choices,
    arithmetic: Mapping[str, Mapping[str, int | str]],
    layers: tuple[str, ...],
) -> dict[str, Scheme]:
    """Return the scheme of each layer; knobs left out stand at their neutral value.

    Raises:
        SpecError: a knob value or an arithmetic that cannot be obeyed.
        UnknownNameError: a knob or layer that does not exist.
    """
    check_arithmetic(arithmetic, layers)
    for knob, values in choices.items():
        _check_values(knob, values, layers)
    return {layer: _scheme(choices, layer) for layer in layers}


def check_arithmetic(
    arithmetic: Mapping[str, Mapping[str, int | str]], layers: tuple[str, ...]
) -> None:
    """Refuse what no evaluator obeys; errors as `read_schemes`."""
    for layer, said in arithmetic.items():
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        if said:
            raise SpecError(
                f"arithmetic at layer {layer!r} must be empty (plain integer products), "
                f"got {dict(said)}"
            )


def _scheme(choices: Choices, layer: str) -> Scheme:
    at = {knob: choices.get(knob, {}).get(layer, KNOBS[knob].neutral) for knob in HONOURED}
    return Scheme(
        weights=int(at["w_bits"]),
        inputs=int(at["a_bits"]),
        quantizer=str(at["act_quantizer"]),
        granularity=str(at["w_granularity"]),
        symmetry=str(at["a_symmetry"]),
    )


def _check_values(knob: str, values: Mapping[str, Value], layers: tuple[str, ...]) -> None:
    if knob not in KNOBS:
        raise UnknownNameError("knob", knob, sorted(KNOBS))
    known = KNOBS[knob]
    allowed = known.choices if knob in HONOURED else (known.neutral,)
    for layer, value in values.items():
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        if value not in allowed:
            raise SpecError(f"{knob} at layer {layer!r} must be one of {allowed}, got {value!r}")
