"""BitFusion at cycle level: every layer tiled, its cycles, stalls, traffic and energy counted.

A layer's counts depend on its loops and two widths alone, so a population is costed from a table
of counts a layer, filled with the pairs of widths that occur; a pair takes about a millisecond,
once in a process.

Layers run one after another; each loads its operands from DRAM and stores its outputs there, at
32 bits, as in BitFusion's simulator. Biases and element-wise operations take memory, but neither
cycles nor energy: the simulator does not know them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Final, final

import numpy as np

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError
from dse.knobs import BITS
from dse.ports import FloatArray, IntArray
from evaluators.hardware.choices import accepted_indices, accepted_values, as_choices
from evaluators.hardware.constants import Constants, load_constants
from evaluators.hardware.fusion.array import FusionArray, Loops, composed_bits, loops_of
from evaluators.hardware.fusion.configuration import Machine, Parameters, machine, parameters
from evaluators.hardware.fusion.schedule import BITS_MOVED, COUNTS, Schedule
from evaluators.hardware.fusion.tiling import NoTilingError, schedule
from evaluators.hardware.ledger import Ledger
from evaluators.hardware.ratios import with_shares

REFERENCE_BITS: Final = 16
"""Width of both operands against which speed is told."""

_MIB_BITS: Final = 8 * 2**20
_PICO_PER_MICRO: Final = 1e6
_WIDTHS: Final = max(BITS) + 1

_COLUMNS: Final = (*COUNTS, "stored")
_REFERENCE: Final = BITS.index(REFERENCE_BITS) * (len(BITS) + 1)

_schedule = lru_cache(maxsize=100_000)(schedule)


@lru_cache(maxsize=512)
def _ledger(array: FusionArray, storage: str, loops: Loops, repeats: int, weights: int) -> Ledger:
    return Ledger(len(BITS) ** 2, len(_COLUMNS))


def cycle_platform(params: Mapping[str, object]) -> "CyclePlatform":
    """Make the platform.

    Args:
        params: as `evaluators.hardware.fusion.configuration.Parameters`.

    Raises:
        SpecError: a parameter that does not exist or is out of range.
    """
    sheet = load_constants("bitfusion-cycles")
    complete = parameters(params, sheet)
    return CyclePlatform(parameters=complete, sheet=sheet, machine=machine(complete, sheet))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CyclePlatform:
    """A BitFusion array of given size, batch and DRAM."""

    parameters: Parameters
    sheet: Constants
    machine: Machine

    @property
    def name(self) -> str:
        return "bitfusion"

    @property
    def params(self) -> Mapping[str, object]:
        return self.parameters.model_dump()

    @property
    def knobs(self) -> Mapping[str, tuple[Value, ...]]:
        return {"w_bits": BITS, "a_bits": BITS}

    @property
    def tied(self) -> tuple[tuple[str, ...], ...]:
        return ()

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("memory_mib", "speedup", "latency_cycles", "energy_uj", "area_um2")

    @property
    def constants(self) -> list[dict[str, float | str]]:
        """Every figure of the model as plain data: name, value, unit, source."""
        return [asdict(constant) for constant in self.sheet]

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        """Ask for nothing: products are plain integers with 32-bit accumulators."""
        return {}

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Cost many designs at once, each the same however many are asked for.

        Args:
            choices: as `accepted_indices` takes them.

        Returns:
            metric -> float64 (n_designs,). `latency_cycles` is until a whole batch is through,
            `energy_uj` of one inference, `speedup` against 16-bit operands everywhere.

        Raises:
            SpecError: widths that the platform does not take, a network without products, or a
                layer of which no tile fits.
        """
        indices = accepted_indices(self, shape, choices)
        _refuse_nothing(shape)
        pairs = indices["w_bits"] * len(BITS) + indices["a_bits"]
        counts = np.zeros((len(pairs), len(_COLUMNS)), dtype=np.int64)
        reference = 0
        for i, (layer, loops, repeats) in enumerate(self._loops(shape)):
            count = partial(self._counted, layer, loops, repeats)
            ledger = _ledger(
                self.machine.array, self.parameters.storage, loops, repeats, layer.weights
            )
            ledger.add_to(counts, pairs[:, i], count)
            reference += count(_REFERENCE)[0]
        # Counts are exact integers: designs that swap layers of one size tie to the last bit.
        total = dict(zip(_COLUMNS, counts.T, strict=True))
        return {
            "memory_mib": (total["stored"] + self._vector_bits(shape)) / _MIB_BITS,
            "speedup": reference / total["cycles"],
            "latency_cycles": total["cycles"].astype(np.float64),
            "energy_uj": sum(self._energy_uj(total).values(), start=np.zeros(len(pairs))),
            "area_um2": np.full(len(pairs), sum(self.machine.area_um2.values())),
        }

    def refuse(
        self, shape: NetworkShape, allowed: Mapping[tuple[str, str], tuple[Value, ...]]
    ) -> None:
        """Refuse a space that offers a layer widths at which no tile of it fits, or a network that
        does not fit at the widths speed is told against (`dse.ports.Bounded`)."""
        for layer, loops, _ in self._loops(shape):
            self._scheduled(layer, loops, REFERENCE_BITS, REFERENCE_BITS)
            for w in allowed["w_bits", layer.name]:
                for a in allowed["a_bits", layer.name]:
                    self._scheduled(layer, loops, int(w), int(a))

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        """Return the parts of one design's costs, a record a layer, "(other)" last.

        `latency_cycles` = `compute_cycles` + `stall_cycles`, `energy_uj` = the sum of the other
        energies, `memory_mib` and `area_um2` add up to the costs; `speedup` is the sum of
        `reference_cycles` over that of `latency_cycles`. Cycles and bits are those of a whole
        batch, energies of one inference. `bound_by`: "compute", "dram", or "latency", the first
        load and the last store, which nothing hides. `tile` is batch x side x input channels x
        output channels, `order` its loops, outermost first.

        Raises:
            UnknownNameError: a knob or layer that does not exist.
            SpecError: as `cost`.
        """
        values = accepted_values(self, shape, as_choices(shape, design))
        _refuse_nothing(shape)
        records: list[dict[str, float | str]] = []
        for i, (layer, loops, repeats) in enumerate(self._loops(shape)):
            w, a = int(values["w_bits"][0, i]), int(values["a_bits"][0, i])
            found = self._scheduled(layer, loops, w, a)
            whole = self._scheduled(layer, loops, REFERENCE_BITS, REFERENCE_BITS)
            records.append(
                {
                    "layer": layer.name,
                    "macs": layer.macs,
                    "weights": layer.weights,
                    "w_bits": w,
                    "a_bits": a,
                    **self._told(found, repeats),
                    "reference_cycles": repeats * whole.cycles,
                    "memory_mib": layer.weights * int(self._stored_bits()[w]) / _MIB_BITS,
                }
            )
        other = {
            "vector_parameters": shape.vector_parameters,
            "elementwise_operations": shape.elementwise_operations,
            "memory_mib": self._vector_bits(shape) / _MIB_BITS,
            **{f"{part}_area_um2": area for part, area in self.machine.area_um2.items()},
            "area_um2": sum(self.machine.area_um2.values()),
        }
        records.append({"layer": "(other)", **other})
        return with_shares(records, ("latency_cycles", "memory_mib", "energy_uj"))

    def _told(self, found: Schedule, repeats: int) -> dict[str, float | str]:
        counts = {name: repeats * count for name, count in zip(COUNTS, found.counts, strict=True)}
        columns = {name: np.asarray(count, dtype=np.int64) for name, count in counts.items()}
        energy = {
            f"{part}_energy_uj": float(figure) for part, figure in self._energy_uj(columns).items()
        }
        bits = {f"{name}_bits": counts[name] for name in BITS_MOVED}
        cycles = counts["cycles"]
        return {
            "latency_cycles": cycles,
            "compute_cycles": counts["compute"],
            "stall_cycles": cycles - counts["compute"],
            "bound_by": found.bound_by,
            **bits,
            **energy,
            "energy_uj": sum(energy.values()),
            "tile": "x".join(map(str, found.tile)),
            "order": " ".join(found.order),
        }

    def _energy_uj(self, counts: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Return the energy of one inference by component, of a batch's counts."""
        e = self.machine.array.energy
        parts = {
            "core": counts["compute"] * e.core,
            "wbuf": counts["wbuf_read"] * e.wbuf_read + counts["wbuf_write"] * e.wbuf_write,
            "ibuf": counts["ibuf_read"] * e.ibuf_read + counts["ibuf_write"] * e.ibuf_write,
            "obuf": counts["obuf_read"] * e.obuf_read + counts["obuf_write"] * e.obuf_write,
            "dram": (counts["dram_read"] + counts["dram_write"]) * e.dram,
        }
        if self.parameters.include_leakage:
            parts["leakage"] = counts["cycles"] * self.machine.leakage_pj_per_cycle
        scale = _PICO_PER_MICRO * self.parameters.batch
        return {part: picojoules / scale for part, picojoules in parts.items()}

    def _counted(self, layer: Layer, loops: Loops, repeats: int, pair: int) -> list[int]:
        """Return the figures of `_COLUMNS` at a pair of indices of widths."""
        w, a = (int(BITS[index]) for index in divmod(pair, len(BITS)))
        found = self._scheduled(layer, loops, w, a)
        stored = layer.weights * int(self._stored_bits()[w])
        return [*(repeats * count for count in found.counts), stored]

    def _loops(self, shape: NetworkShape) -> Iterator[tuple[Layer, Loops, int]]:
        for i, layer in enumerate(shape.layers):
            yield layer, *loops_of(layer, batch=self.parameters.batch, first=i == 0)

    def _scheduled(self, layer: Layer, loops: Loops, w_bits: int, a_bits: int) -> Schedule:
        stored = self._stored_bits()
        array: FusionArray = self.machine.array
        try:
            return _schedule(loops, array, int(stored[a_bits]), int(stored[w_bits]))
        except NoTilingError as error:
            raise SpecError(
                f"platform 'bitfusion' cannot hold layer {layer.name!r} with w_bits={w_bits} and "
                f"a_bits={a_bits}: {error}"
            ) from error

    def _stored_bits(self) -> IntArray:
        """Return width -> width as stored."""
        widths = np.arange(_WIDTHS, dtype=np.int64)
        if self.parameters.storage == "exact":
            return widths
        return np.array([composed_bits(width) for width in widths.tolist()], dtype=np.int64)

    def _vector_bits(self, shape: NetworkShape) -> int:
        return shape.vector_parameters * int(self.sheet["vector_parameter_bits"])


def _refuse_nothing(shape: NetworkShape) -> None:
    if not shape.layers:
        raise SpecError("a network to be costed in cycles must have products, got none")
