"""What a tiled layer costs on a BitFusion array: cycles, stalls, traffic and energy."""

from dataclasses import dataclass
from typing import Final, Literal

from evaluators.hardware.fusion.array import EventEnergy

Bound = Literal["compute", "dram", "latency"]

BITS_MOVED: Final = (
    "wbuf_read",
    "wbuf_write",
    "ibuf_read",
    "ibuf_write",
    "obuf_read",
    "obuf_write",
    "dram_read",
    "dram_write",
)
COUNTS: Final = ("cycles", "compute", *BITS_MOVED)
"""What is added up over layers: cycles and bits."""

LOOPS: Final = ("batch", "width", "height", "inputs", "outputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The fastest tiling of a layer, and its counts. Cycles and bits are exact integers.

    Attributes:
        tile: batch, side of the output, input and output channels.
        order: loops over tiles that run more than once, outermost first.
        compute_cycles: with both passes of each operand above 8 bits.
        transfer_cycles: of all between the first loads and the last stores, were they alone.
        latency_cycles: of the first loads and the last stores, which nothing hides.
        ibuf_read, ...: bits.
    """

    tile: tuple[int, int, int, int]
    order: tuple[str, ...]
    compute_cycles: int
    transfer_cycles: int
    latency_cycles: int
    ibuf_read: int
    ibuf_write: int
    wbuf_read: int
    wbuf_write: int
    obuf_read: int
    obuf_write: int
    dram_read: int
    dram_write: int

    @property
    def stall_cycles(self) -> int:
        return max(0, self.transfer_cycles - self.compute_cycles) + self.latency_cycles

    @property
    def cycles(self) -> int:
        return self.compute_cycles + self.stall_cycles

    @property
    def bound_by(self) -> Bound:
        """What takes longest: the array, the stream from DRAM, or filling and draining."""
        if self.latency_cycles > max(self.compute_cycles, self.transfer_cycles):
            return "latency"
        return "dram" if self.transfer_cycles > self.compute_cycles else "compute"

    @property
    def counts(self) -> tuple[int, ...]:
        """Return the figures of `COUNTS`."""
        bits = (getattr(self, name) for name in BITS_MOVED)
        return (self.cycles, self.compute_cycles, *bits)

    def energy_pj(self, energy: EventEnergy) -> dict[str, float]:
        """Return the energy by component, pJ: core, wbuf, ibuf, obuf and dram."""
        return {
            "core": self.compute_cycles * energy.core,
            "wbuf": self.wbuf_read * energy.wbuf_read + self.wbuf_write * energy.wbuf_write,
            "ibuf": self.ibuf_read * energy.ibuf_read + self.ibuf_write * energy.ibuf_write,
            "obuf": self.obuf_read * energy.obuf_read + self.obuf_write * energy.obuf_write,
            "dram": (self.dram_read + self.dram_write) * energy.dram,
        }
