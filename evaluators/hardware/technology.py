"""Energies and areas of what an accelerator is made of, from the constants of one technology."""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import final

import numpy as np

from dse.ports import FloatArray, IntArray
from evaluators.hardware.constants import Constants, load_constants

_BYTE = 8
_KIB_BITS = 8 * 1024


@dataclass(frozen=True, slots=True)
class SramPoint:
    """A memory of `kib` KiB: energy of a bit read and written."""

    kib: float
    read_pj: float
    write_pj: float


@final
@dataclass(frozen=True, eq=False)
class Technology:
    """One set of constants; `technology` makes each once, so that equal ones are the same.

    It names `mac_energy_0`, `_1`, `_2` (a polynomial in operand width), `add_energy_per_bit`,
    `dram_energy`, `sram_energy` or none, points `sram_read_B` and `sram_write_B` for memories of B
    bytes, the polynomial `mac_area_0`, `_1`, `_2`, and `sram_area`.
    """

    sheet: Constants

    def mac_pj(self, w_bits: IntArray, a_bits: IntArray) -> FloatArray:
        """Return the energy of a multiply-accumulate of widths that broadcast together."""
        return self._polynomial("mac_energy", w_bits, a_bits)

    def mac_um2(self, w_bits: IntArray, a_bits: IntArray) -> FloatArray:
        """Return the area of a multiply-accumulate unit."""
        return self._polynomial("mac_area", w_bits, a_bits)

    def add_pj(self, bits: int) -> float:
        """Return the energy of one addition outside the array."""
        return self.sheet["add_energy_per_bit"] * bits

    @property
    def dram_pj(self) -> float:
        """Return the energy of a bit of DRAM, read or written."""
        return self.sheet["dram_energy"] / _BYTE

    def sram_pj(self, kib: float, *, sized: bool) -> SramPoint:
        """Return what a bit of a buffer costs.

        Args:
            sized: by its size; otherwise what the constants say of the buffers of their source,
                where they do.
        """
        if not sized and "sram_energy" in self.sheet:
            flat = self.sheet["sram_energy"] / _BYTE
            return SramPoint(kib, flat, flat)
        return interpolated(self.sram_points, kib)

    def sram_um2(self, kib: float) -> float:
        return self.sheet["sram_area"] * kib

    @cached_property
    def sram_points(self) -> tuple[SramPoint, ...]:
        """The known memories, the smallest first."""
        names = [c.name for c in self.sheet if c.name.startswith("sram_read_")]
        sizes = sorted(int(name.removeprefix("sram_read_")) for name in names)
        return tuple(
            SramPoint(
                size / 1024, self.sheet[f"sram_read_{size}"], self.sheet[f"sram_write_{size}"]
            )
            for size in sizes
        )

    def _polynomial(self, name: str, w_bits: IntArray, a_bits: IntArray) -> FloatArray:
        # fitted to equal widths n: for others, n^2 is their product and n their mean
        constant, linear, square = (self.sheet[f"{name}_{power}"] for power in range(3))
        mean = (w_bits + a_bits) / 2
        return constant + linear * mean + square * (w_bits * a_bits)


@cache
def technology(name: str) -> Technology:
    """Return the technology whose constants are `platforms/NAME.yaml`."""
    return Technology(load_constants(name))


def interpolated(points: tuple[SramPoint, ...], kib: float) -> SramPoint:
    """Interpolate between memories, straight in the logarithms of size and energy. A larger one
    than all is made of banks of the largest, a smaller one costs as much as the smallest."""
    log_kib = np.log([point.kib for point in points])
    read, write = (
        math.exp(float(np.interp(math.log(kib), log_kib, np.log(energies))))
        for energies in ([p.read_pj for p in points], [p.write_pj for p in points])
    )
    return SramPoint(kib, read, write)


def cubic_pj_per_bit(kib: float) -> float:
    """Return Horowitz's (ISSCC 2014) energy of a bit of SRAM at 45 nm, as QKeras interpolates it
    in z = log2 of the capacity in bits."""
    z = math.log2(kib * _KIB_BITS)
    return 9.0243e-4 * z**3 - 2.6885e-2 * z**2 + 0.20890 * z
