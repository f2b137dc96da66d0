"""Reading what a task asks for: the scheme of every layer."""

from collections.abc import Mapping
from typing import Final

from dse.design import Choices, Value
from dse.errors import SpecError, UnknownNameError
from dse.knobs import KNOBS
from evaluators.evaluation import HONOURED
from evaluators.quantizers.scheme import ALL, PartialSums, Scheme

_STORING: Final = ("ws", "is")
_NARROW: Final = 8


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
    return {layer: _scheme(choices, arithmetic.get(layer, {}), layer) for layer in layers}


def check_arithmetic(
    arithmetic: Mapping[str, Mapping[str, int | str]], layers: tuple[str, ...]
) -> None:
    """Refuse what no evaluator obeys; errors as `read_schemes`."""
    for layer, said in arithmetic.items():
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        tile = said.get("tile")
        if said and not (
            set(said) == {"tile", "dataflow"}
            and isinstance(tile, int)
            and tile >= 1
            and said["dataflow"] in _STORING
        ):
            raise SpecError(
                f"arithmetic at layer {layer!r} must be empty (plain integer products), or have a "
                f"tile of at least 1 and a dataflow of {', '.join(_STORING)}, got {dict(said)}"
            )


def _scheme(choices: Choices, said: Mapping[str, int | str], layer: str) -> Scheme:
    at = {knob: choices.get(knob, {}).get(layer, KNOBS[knob].neutral) for knob in HONOURED}
    return Scheme(
        weights=int(at["w_bits"]),
        inputs=int(at["a_bits"]),
        quantizer=str(at["act_quantizer"]),
        granularity=str(at["w_granularity"]),
        symmetry=str(at["a_symmetry"]),
        sums=_sums(at, said),
    )


def _sums(at: Mapping[str, Value], said: Mapping[str, int | str]) -> PartialSums | None:
    widest = max(int(at["w_bits"]), int(at["a_bits"]))
    # sums of wider operands are stored whole, whatever a platform says
    if not said or at["psum_bits"] == KNOBS["psum_bits"].neutral or widest > _NARROW:
        return None
    group = at["psum_group"]
    return PartialSums(
        tile=int(said["tile"]),
        bits=int(at["psum_bits"]),
        group=ALL if isinstance(group, str) else group,
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
