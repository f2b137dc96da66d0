"""What a layer's counts cost on an accelerator of a platform file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from dse.design import Layer
from dse.ports import FloatArray, IntArray
from evaluators.hardware.own.definition import Definition
from evaluators.hardware.own.layers import Counts

_BITS: Final = (
    "weights_read",
    "weights_write",
    "activations_read",
    "activations_write",
    "sums_read",
    "sums_write",
    "dram_read",
    "dram_write",
    "added_bits",
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Energies and areas.

    Attributes:
        bits_pj: of each of `_BITS`, pJ a bit.
        macs_pj: of each line of the throughput table, pJ a product.
        leakage_pj: a cycle.
        area_um2: part -> area; None: the file says nothing of areas.
    """

    bits_pj: tuple[float, ...]
    macs_pj: tuple[float, ...]
    leakage_pj: float
    area_um2: Mapping[str, float] | None

    @property
    def size(self) -> int:
        """How many events there are."""
        return len(self.bits_pj) + len(self.macs_pj)

    def events(self, layer: Layer, found: Counts) -> list[int]:
        """Return what has a price: bits, and the products of each line."""
        macs = [0] * len(self.macs_pj)
        macs[found.line] = layer.macs
        return [*(getattr(found, name) for name in _BITS), *macs]

    def energy_pj(self, events: IntArray, cycles: IntArray) -> FloatArray:
        """Return the energy of rows of events: (n, size) -> (n,)."""
        total = cycles * self.leakage_pj
        for column, price in zip(events.T, (*self.bits_pj, *self.macs_pj), strict=True):
            total = total + column * price
        return np.asarray(total, dtype=np.float64)

    def parts_pj(self, layer: Layer, found: Counts) -> dict[str, float]:
        """Return the energy of a layer by part."""
        priced = {
            name: getattr(found, name) * pj for name, pj in zip(_BITS, self.bits_pj, strict=True)
        }
        parts = {"mac": layer.macs * self.macs_pj[found.line]}
        parts["adder"] = priced.pop("added_bits")
        for name, energy in priced.items():
            part = name.partition("_")[0]
            parts[part] = parts.get(part, 0.0) + energy
        return {**parts, "leakage": found.cycles * self.leakage_pj}


def prices_of(given: Definition) -> Prices:
    """Return what a definition's events cost."""
    bits = {}
    for name, memory in (*given.buffers, ("dram", given.dram)):
        bits[f"{name}_read"] = float(memory.read.of("energy per bit"))
        bits[f"{name}_write"] = float(memory.write.of("energy per bit"))
    adder = given.array.adder
    bits["added_bits"] = 0.0 if adder is None else float(adder.of("energy per bit"))
    leakage_pj = 0.0
    if given.array.leakage is not None and given.array.clock is not None:
        # mW / MHz is nJ
        leakage_pj = float(given.array.leakage.of("power") / given.array.clock.of("clock") * 1000)
    return Prices(
        bits_pj=tuple(bits[name] for name in _BITS),
        macs_pj=tuple(float(speed.energy.of("energy")) for speed in given.throughput),
        leakage_pj=leakage_pj,
        area_um2=_areas(given),
    )


def _areas(given: Definition) -> dict[str, float] | None:
    array = given.array
    if array.area is None:
        return None
    units = array.rows.of("count") * array.columns.of("count")
    areas = {"array": float(units * array.area.of("area"))}
    for name, buffer in given.buffers:
        if buffer.area is not None:
            areas[name] = float(buffer.area.of("area"))
    return areas
