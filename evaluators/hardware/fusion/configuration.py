"""What a user may say of a BitFusion array: presets, sizes, batch and DRAM."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dse.errors import SpecError
from dse.spec import explain
from evaluators.hardware.constants import Constants
from evaluators.hardware.fusion.array import EventEnergy, FusionArray
from evaluators.hardware.fusion.banks import Bank, bank

Preset = Literal["eyeriss", "stripes", "small"]
Dram = Literal["lpddr4", "lpddr", "ddr3", "gddr5", "hbm2", "hmc", "simulator"]

_KIB_BITS: Final = 8 * 1024
_SIZES: Final = {
    "rows": "rows",
    "columns": "columns",
    "clock_mhz": "clock",
    "wbuf_kib": "wbuf",
    "ibuf_kib": "ibuf",
    "obuf_kib": "obuf",
    "dram_bits_per_cycle": "dram_width",
}


class Parameters(BaseModel):
    """Parameters of `mode: cycles`; sizes left out are the preset's.

    Attributes:
        batch: inferences that run together; weights are loaded once for all of them.
        storage: widths as stored: as they are, or rounded up to powers of two.
        include_leakage: add what idle and busy transistors leak, over all cycles.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Literal["cycles"] = "cycles"
    preset: Preset = "eyeriss"
    rows: int | None = Field(default=None, ge=2, le=1024)
    columns: int | None = Field(default=None, ge=1, le=1024)
    clock_mhz: float | None = Field(default=None, ge=1, le=10_000, allow_inf_nan=False)
    wbuf_kib: int | None = Field(default=None, ge=1, le=2**20)
    ibuf_kib: int | None = Field(default=None, ge=1, le=2**20)
    obuf_kib: int | None = Field(default=None, ge=1, le=2**20)
    dram_bits_per_cycle: int | None = Field(default=None, ge=1, le=2**20)
    batch: int = Field(default=1, ge=1, le=65_536)
    dram: Dram = "lpddr4"
    storage: Literal["exact", "padded"] = "exact"
    include_leakage: bool = False

    def completed(self, constants: Constants) -> Self:
        """Return them with the preset's sizes where none are given."""
        sizes: dict[str, float | int] = {}
        for name, constant in _SIZES.items():
            value = constants[f"{self.preset}_{constant}"]
            sizes[name] = value if name == "clock_mhz" else int(value)
        given = self.model_dump(exclude_none=True)
        return self.model_validate({**sizes, **given})


def parameters(given: Mapping[str, object], constants: Constants) -> Parameters:
    """Return the parameters, complete.

    Raises:
        SpecError: one that does not exist or is out of range.
    """
    unknown = ", ".join(sorted(set(given) - set(Parameters.model_fields)))
    if unknown:
        raise SpecError(
            f"platform 'bitfusion' with mode cycles takes no parameter {unknown}; "
            f"allowed: {', '.join(Parameters.model_fields)}"
        )
    try:
        return Parameters.model_validate(dict(given)).completed(constants)
    except ValidationError as error:
        raise SpecError(f"platform 'bitfusion' with mode cycles:\n{explain(error)}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An array with what does not depend on a layer.

    Attributes:
        area_um2, leakage_mw: part -> figure: core, wbuf, ibuf, obuf.
    """

    array: FusionArray
    area_um2: Mapping[str, float]
    leakage_mw: Mapping[str, float]
    clock_mhz: float

    @property
    def leakage_pj_per_cycle(self) -> float:
        return sum(self.leakage_mw.values()) / self.clock_mhz * 1e3


def machine(given: Parameters, constants: Constants) -> Machine:
    """Return the array that complete parameters describe.

    Raises:
        SpecError: banks of a size that the constants do not cover.
    """
    sizes = {name: getattr(given, name) for name in _SIZES}
    rows, columns = sizes["rows"], sizes["columns"]
    units = rows * columns
    # a bank of weights to each unit, of inputs to each row, of outputs to each column
    counts = {"wbuf": units, "ibuf": rows, "obuf": columns}
    banks: dict[str, Bank] = {}
    for buffer, count in counts.items():
        size = sizes[f"{buffer}_kib"] * 1024 / count
        banks[buffer] = bank(constants, f"{buffer}_kib", size, port=buffer == "obuf")
    energy = EventEnergy(
        core=units * constants["unit_energy"],
        dram=constants[f"dram_{given.dram}"],
        **{f"{name}_read": each.read for name, each in banks.items()},
        **{f"{name}_write": each.write for name, each in banks.items()},
    )
    array = FusionArray(
        rows=rows,
        columns=columns,
        dram_bits_per_cycle=sizes["dram_bits_per_cycle"],
        energy=energy,
        **{f"{buffer}_bits": sizes[f"{buffer}_kib"] * _KIB_BITS for buffer in counts},
    )
    area = {"core": units * constants["unit_area"]}
    leakage = {"core": units * constants["unit_leakage"] / 1e3}
    for buffer, count in counts.items():
        area[buffer] = count * banks[buffer].area * 1e6
        leakage[buffer] = count * banks[buffer].leakage
    return Machine(array=array, area_um2=area, leakage_mw=leakage, clock_mhz=sizes["clock_mhz"])
