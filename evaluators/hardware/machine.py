"""From a platform's parameters to the machine that is costed."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dse.errors import SpecError
from evaluators.hardware.accesses import Array
from evaluators.hardware.constants import Constants, load_constants
from evaluators.hardware.layer_costs import Buffers, Machine
from evaluators.hardware.profiles import PROFILES
from evaluators.hardware.technology import technology

Side = Annotated[int, Field(ge=1, le=65_536)]
Kib = Annotated[float, Field(gt=0, le=2**30, allow_inf_nan=False)]

_WIDEST = 16


class Params(BaseModel):
    """Parameters of a platform whose layers run on one array.

    Attributes:
        constants: technology: energies and areas.
        profile: what is counted; see `evaluators.hardware.profiles`.
        pci, pco, po: reduction elements, output columns and rows that the array takes at a time.
        input_kib, weight_kib, sum_kib: buffers.
        inputs_once: under ws, inputs come from DRAM once even if they do not fit.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    constants: Literal["horowitz-45", "interstellar-28", "general-45"] = "horowitz-45"
    profile: Literal["apsq", "complete", "zigzag"] = "apsq"
    pci: Side
    pco: Side
    po: Side
    input_kib: Kib
    weight_kib: Kib
    sum_kib: Kib
    inputs_once: bool = False


def machine_from(
    platform: str, params: Mapping[str, object]
) -> tuple[dict[str, object], Machine, Constants]:
    """Return the parameters with their defaults, the machine, and every constant in it.

    Raises:
        SpecError: an unknown parameter, one out of range, or buffers that do not hold what the
            array works on, so that no dataflow can run any layer.
    """
    sheet = load_constants(platform)
    sides = {side: int(sheet[side]) for side in ("pci", "pco", "po")}
    sizes = {size: sheet[size] for size in ("input_kib", "weight_kib", "sum_kib")}
    told = _checked(platform, {**sides, **sizes, **params})
    chosen = technology(told.constants)
    machine = Machine(
        array=Array(pci=told.pci, pco=told.pco, po=told.po),
        buffers=Buffers(
            input_kib=told.input_kib, weight_kib=told.weight_kib, sum_kib=told.sum_kib
        ),
        technology=chosen,
        profile=PROFILES[told.profile],
        inputs_once=told.inputs_once,
        sram_width=int(sheet["sram_width"]),
        dram_width=int(sheet["dram_width"]),
    )
    _check_room(platform, told)
    return told.model_dump(), machine, sheet + chosen.sheet


def _checked(platform: str, params: Mapping[str, object]) -> Params:
    try:
        return Params.model_validate(dict(params))
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0])
        if name not in Params.model_fields:
            raise SpecError(
                f"platform {platform!r} takes no parameter {name!r}; "
                f"allowed: {', '.join(Params.model_fields)}"
            ) from error
        raise SpecError(
            f"platform {platform!r}: {name}: {fault['msg']}, got {params[name]!r}"
        ) from error


def _check_room(platform: str, told: Params) -> None:
    """Refuse buffers that do not hold one filling of the array at the widest operands."""
    needed = {
        "weight_kib": told.pci * told.pco * _WIDEST,
        "input_kib": told.pci * told.po * _WIDEST,
    }
    for name, bits in needed.items():
        kib = getattr(told, name)
        if bits > kib * 8 * 1024:
            raise SpecError(
                f"platform {platform!r}: {name} must hold what the array works on, "
                f"{bits / 8 / 1024:g} KiB at 16 bits, so that any layer can run; got {kib:g}"
            )
