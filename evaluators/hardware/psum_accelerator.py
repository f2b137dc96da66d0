"""An accelerator that stores partial sums between the tiles of a reduction, at chosen widths.

The array multiplies `pci` reduction elements at a time. A sum over more of them is made of partial
sums, one a tile; under dataflow ws and is they go to the buffer and back between two tiles,
rounded to `psum_bits` (APSQ, arXiv 2505.03748). The array's sides and the cost model are our
reconstruction; `docs/platforms.md` recomputes a layer by hand.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Final, TypeVar, cast, final

import numpy as np
from numpy.typing import NDArray

from dse.canonical import alive_codes
from dse.design import Design, Layer, NetworkShape, Value
from dse.knobs import BITS, KNOBS
from dse.ports import FloatArray, IntArray
from evaluators.hardware.accesses import Dataflow, partial_sums, product_of
from evaluators.hardware.choices import accepted_indices, as_choices
from evaluators.hardware.constants import Constants
from evaluators.hardware.layer_costs import (
    BOUNDS,
    ENERGIES,
    NARROW,
    WHOLE,
    Choice,
    LayerCosts,
    Machine,
    StoredSums,
    layer_costs,
    stored_sums,
)
from evaluators.hardware.machine import machine_from
from evaluators.hardware.tables import SmallArray, counted, small, summed

_SUM_KNOBS: Final = ("psum_bits", "psum_group", "dataflow")
_OUTPUT: Final = "a_bits@output"
_WIDTHS: Final = ("w_bits", "a_bits", _OUTPUT)
_SUMS: Final = ("dataflow", "psum_bits", "psum_group")
_COLUMNS: Final = 4
"""Of a layer's table: energy (pJ), latency (cycles), weight bits, whether sums are grouped."""

_EIGHT: Final = np.array(8)
_MIB_BITS: Final = 8 * 2**20
_KIB_BITS: Final = 8 * 1024
_PICO_PER_MICRO: Final = 1e6
_PERCENT: Final = 100.0

Indices = TypeVar("Indices", IntArray, SmallArray)


def psum_accelerator(params: Mapping[str, object]) -> "PsumAccelerator":
    """Make the platform.

    Args:
        params: as `evaluators.hardware.machine.Params` has them.

    Raises:
        SpecError: another parameter, or one out of range.
    """
    told, machine, sheet = machine_from("psum-accelerator", params)
    return PsumAccelerator(params=told, machine=machine, sheet=sheet)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PsumAccelerator:
    """A platform whose partial sums have a width and a group size.

    Attributes:
        sheet: every figure of the model with its unit and source.
    """

    params: Mapping[str, object]
    machine: Machine
    sheet: Constants

    name = "psum-accelerator"
    tied: tuple[tuple[str, ...], ...] = ()
    metrics: tuple[str, ...] = ("memory_mib", "energy_uj", "latency_cycles", "area_um2")

    @property
    def knobs(self) -> Mapping[str, tuple[Value, ...]]:
        return {"w_bits": BITS, "a_bits": BITS, **{k: KNOBS[k].choices for k in _SUM_KNOBS}}

    @property
    def constants(self) -> list[dict[str, float | str]]:
        """Every figure of the model as plain data: name, value, unit, source."""
        return [asdict(constant) for constant in self.sheet]

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        """Return {} where sums are exact, or else `tile`, the reduction elements of a partial
        sum, and `dataflow`, "ws" or "is".

        Sums are exact if they are stored at 32 bits, stay in the array (dataflow os), take one
        tile, are of a depthwise convolution, whose window is summed inside the array, or have an
        operand of more than 8 bits.
        """
        at = {knob: values.get(knob, KNOBS[knob].neutral) for knob in self.knobs}
        wide = any(int(at[knob]) > NARROW for knob in ("w_bits", "a_bits"))
        pci = self.machine.array.pci
        if wide or at["psum_bits"] == WHOLE or at["dataflow"] == "os":
            return {}
        if partial_sums(layer, pci) == 1:
            return {}
        return {"tile": pci, "dataflow": at["dataflow"]}

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Cost many designs at once, each the same however many are asked for.

        Args:
            choices: as `accepted_indices` takes them.

        Returns:
            metric -> float64 (n_designs,).

        Raises:
            SpecError: values that the platform does not take.
        """
        indices = accepted_indices(self, shape, choices)
        tables = [_table(self.machine, _nameless(layer)) for layer in shape.layers]
        starts = np.concatenate([first for first, _ in tables])
        offsets = len(tables[0][0]) * np.arange(len(tables))[:, None]

        def rows(part: slice) -> IntArray:
            at = small(indices, part)
            at[_OUTPUT] = _output_indices(shape, at["a_bits"])
            # all indices are known to be good, and "clip" is faster than to check them again
            found = np.take(starts, counted(_SUMS, at) + offsets, mode="clip")
            found += counted(_WIDTHS, at)
            return found

        size = len(indices["w_bits"])
        total = summed([table for _, table in tables], rows, size=size, columns=_COLUMNS)
        energy, latency, bits, grouped = total.T
        return {
            "memory_mib": (bits + self._vector_bits(shape)) / _MIB_BITS,
            "energy_uj": energy / _PICO_PER_MICRO,
            "latency_cycles": latency.copy(),
            "area_um2": self._area(indices, grouped > 0),
        }

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        """Return the parts of one design's costs, a record a layer, "(other)" last.

        `energy_uj` is the sum of the `…_energy_uj`, `latency_cycles` the largest of the
        `…_cycles`, which `bound_by` names; both and `memory_mib` add up to the costs. `tiles` is
        the number of partial sums of an output, `alive` how many of its codes are stored at once,
        `sum_kib` the room that they take, and `fits` says whether there is so much. `area_um2` is
        the last record's: it belongs to no layer.
        """
        indices = accepted_indices(self, shape, as_choices(shape, design))
        outputs = _output_indices(shape, indices["a_bits"])
        records = [
            self._record(layer, {knob: int(row[0, i]) for knob, row in indices.items()}, output)
            for i, (layer, output) in enumerate(zip(shape.layers, outputs[0], strict=True))
        ]
        grouped = np.array([any(float(r["psum_bits"]) < WHOLE for r in records)])
        area = self._area(indices, grouped)
        other: dict[str, float | str] = {
            "layer": "(other)",
            "vector_parameters": shape.vector_parameters,
            "memory_mib": self._vector_bits(shape) / _MIB_BITS,
            "energy_uj": 0.0,
            "latency_cycles": 0,
            "area_um2": float(area[0]),
        }
        return [*records, other]

    def _record(self, layer: Layer, at: Mapping[str, int], output: int) -> dict[str, float | str]:
        flow, group = KNOBS["dataflow"].choices[at["dataflow"]], at["psum_group"]
        sums = partial_sums(layer, self.machine.array.pci)
        w, a = (np.array([BITS[at[knob]]]) for knob in ("w_bits", "a_bits"))
        choice = Choice(
            w=w,
            a=a,
            p=np.array([KNOBS["psum_bits"].choices[at["psum_bits"]]], dtype=np.int64),
            alive=np.array([alive_codes(KNOBS["psum_group"].choices[group], sums)]),
            o=np.array([BITS[output]]),
        )
        costs = layer_costs(self.machine, layer, cast(Dataflow, flow), choice)
        return {
            "layer": layer.name,
            "macs": layer.macs,
            "w_bits": int(w[0]),
            "a_bits": int(a[0]),
            "output_bits": BITS[output],
            "tiles": sums,
            "psum_bits": int(_only(costs.sum_bits)),
            "alive": int(choice.alive[0]) if costs.grouped.item() else min(1, sums - 1),
            "sum_kib": _only(costs.resident_bits) / _KIB_BITS,
            "fits": "yes" if costs.fits.item() else "no",
            **_energy_record(costs),
            **_cycle_record(costs),
            "memory_mib": layer.weights * int(w[0]) / _MIB_BITS,
        }

    def _area(self, at: Mapping[str, IntArray], grouped: NDArray[np.bool_]) -> FloatArray:
        """Return um^2 (n_designs,): an array for the widest operands of any layer, the buffers,
        and where sums are grouped, the engine for it."""
        array, buffers, technology = (
            self.machine.array,
            self.machine.buffers,
            self.machine.technology,
        )
        widths = np.array(BITS)
        units = {
            "ws": array.pci * array.pco,
            "is": array.pci * array.po,
            "os": array.po * array.pco,
        }
        whole = array.pci * array.pco * array.po
        counts = np.array(
            [units[str(f)] if self.machine.profile.systolic else whole for f in _flows()]
        )
        macs = technology.mac_um2(widths[:, None], widths[None, :])
        kib = buffers.input_kib + buffers.weight_kib + buffers.sum_kib
        widest = macs[at["w_bits"].max(axis=1), at["a_bits"].max(axis=1)]
        plain = counts[at["dataflow"][:, 0]] * widest
        plain = plain + technology.sram_um2(kib)
        area: FloatArray = plain * (1 + grouped * (self.sheet["grouping_area"] / _PERCENT))
        return area

    def _vector_bits(self, shape: NetworkShape) -> int:
        return shape.vector_parameters * int(self.sheet["vector_parameter_bits"])


def _flows() -> tuple[Value, ...]:
    return KNOBS["dataflow"].choices


def _output_indices(shape: NetworkShape, a: Indices) -> Indices:
    """Return the widths (indices) of finished outputs, (n_designs, n_layers): those of the widest
    consumer's inputs; what no layer reads is as wide as the inputs of its own layer."""
    place = {name: i for i, name in enumerate(shape.names)}
    readers = [[place[c] for c in layer.consumers] or [i] for i, layer in enumerate(shape.layers)]
    if all(len(found) == 1 for found in readers):
        return np.take(a, [found[0] for found in readers], axis=1)
    return np.stack([a[:, found].max(axis=1) for found in readers], axis=1)


def _nameless(layer: Layer) -> Layer:
    """Return a layer that equals all others of its sizes, so that they share a table."""
    return Layer(
        name="",
        m=layer.m,
        k=layer.k,
        n=layer.n,
        groups=layer.groups,
        kernel=layer.kernel,
        window=layer.window,
        input_elements=layer.input_elements,
        dynamic=layer.dynamic,
    )


@lru_cache(maxsize=256)
def _table(machine: Machine, layer: Layer) -> tuple[IntArray, FloatArray]:
    """Return every choice's costs of a layer.

    Most choices of partial sums cost the same: groups alone matter where sums do not fit, nothing
    does under os. Only those that differ have rows, so that tables stay in the processor's cache.

    Returns:
        joint choice of _SUMS -> its first row, (n,); and the rows, which count through the joint
        choices of _WIDTHS: (rows, _COLUMNS).
    """
    pci, groups = machine.array.pci, KNOBS["psum_group"].choices
    alive = np.array([alive_codes(group, partial_sums(layer, pci)) for group in groups])
    bits = np.array(KNOBS["psum_bits"].choices, dtype=np.int64)
    stored, codes = (axis.reshape(-1) for axis in np.meshgrid(bits, alive, indexing="ij"))
    widths, size = np.array(BITS), len(BITS) ** len(_WIDTHS)
    starts: list[IntArray] = []
    parts: list[FloatArray] = []
    for flow in cast(tuple[Dataflow, ...], _flows()):
        every = Choice(w=_EIGHT, a=_EIGHT, p=stored, alive=codes, o=_EIGHT)
        first, kinds = _kinds(machine, stored_sums(machine, product_of(layer, pci), flow, every))
        choice = Choice(
            w=widths.reshape(-1, 1, 1),
            a=widths.reshape(-1, 1),
            p=stored[first].reshape(-1, 1, 1, 1),
            alive=codes[first].reshape(-1, 1, 1, 1),
            o=widths,
        )
        costs = layer_costs(machine, layer, flow, choice)
        starts.append(size * (kinds + sum(map(len, parts)) // size))
        rows = np.empty((len(first), *[len(BITS)] * len(_WIDTHS), _COLUMNS))
        rows[..., 0], rows[..., 1] = costs.total_pj, costs.latency
        rows[..., 2], rows[..., 3] = layer.weights * choice.w, costs.grouped
        parts.append(rows.reshape(-1, _COLUMNS))
    return np.concatenate(starts), np.concatenate(parts)


def _kinds(machine: Machine, sums: StoredSums) -> tuple[IntArray, IntArray]:
    """Return of each kind of partial sums its first choice, and of each choice its kind."""
    over = sums.resident if machine.profile.spill == "fraction" else 1
    told = sums.bits + 2 * WHOLE * np.where(sums.fits, 0, over)
    _, first, kinds = np.unique(told, return_index=True, return_inverse=True)
    return first, kinds


def _energy_record(costs: LayerCosts) -> dict[str, float]:
    parts = {f"{part}_energy_uj": _only(costs.energy_pj[part]) / 1e6 for part in ENERGIES}
    total = _only(costs.total_pj) / _PICO_PER_MICRO
    stored = parts["sum_sram_energy_uj"] + parts["sum_dram_energy_uj"]
    return {**parts, "energy_uj": total, "psum_share": stored / total}


def _cycle_record(costs: LayerCosts) -> dict[str, float | str]:
    cycles = {bound: int(_only(costs.cycles[bound])) for bound in BOUNDS}
    longest = max(cycles.values())
    bound_by = next(bound for bound in BOUNDS if cycles[bound] == longest)
    told: dict[str, float | str] = {f"{bound}_cycles": count for bound, count in cycles.items()}
    return {**told, "latency_cycles": longest, "bound_by": bound_by}


def _only(value: FloatArray | IntArray) -> float:
    return float(np.asarray(value).reshape(-1)[0])
