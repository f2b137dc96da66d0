"""Energy, latency and memory of one layer on an array with three buffers and DRAM.

Everything is computed on arrays that broadcast together, so that one layer's table of all choices
and one design's breakdown come from the same lines. Bits are int64: they pass 2^24, and no float32
may see them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from dse.design import Layer
from dse.ports import FloatArray, IntArray
from evaluators.hardware.accesses import (
    Accesses,
    Array,
    Dataflow,
    Product,
    accesses,
    folds,
    parallel_cycles,
    product_of,
    resident_sums,
    systolic_cycles,
)
from evaluators.hardware.profiles import Profile
from evaluators.hardware.technology import SramPoint, Technology

NARROW: Final = 8
"""Partial sums of wider operands are kept whole."""

WHOLE: Final = 32
"""Width of partial sums that are kept whole."""

BOUNDS: Final = ("compute", "sram", "dram")
_KIB_BITS: Final = 8 * 1024

ENERGIES: Final = (
    "mac",
    "accumulation",
    "weight_sram",
    "input_sram",
    "sum_sram",
    "weight_dram",
    "input_dram",
    "sum_dram",
    "output_sram",
    "output_dram",
)
"""Parts of a layer's energy, in the order in which they are added up: those that depend on one
more choice, the width of outputs, last, so that most sums are of small arrays."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Sizes in KiB; finished outputs pass through the buffer of partial sums."""

    input_kib: float
    weight_kib: float
    sum_kib: float


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """An accelerator, and what is counted of it.

    Attributes:
        inputs_once: under ws, inputs come from DRAM once whether they fit or not: the reduction is
            the outermost loop.
        sram_width, dram_width: bits a cycle, of all buffers together and of DRAM.
    """

    array: Array
    buffers: Buffers
    technology: Technology
    profile: Profile
    inputs_once: bool
    sram_width: int
    dram_width: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a layer stands at: int64 arrays that broadcast together.

    Attributes:
        w, a: widths of weights and inputs.
        p: width of stored partial sums, as chosen.
        alive: codes of each output that are in the buffer at once, as chosen.
        o: width of finished outputs.
    """

    w: IntArray
    a: IntArray
    p: IntArray
    alive: IntArray
    o: IntArray


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCosts:
    """Costs of all groups of one layer, in arrays that broadcast together.

    Attributes:
        energy_pj: part -> energy; the parts are ENERGIES.
        cycles: bound -> cycles that it would take if the others took none.
        resident_bits: partial sums in the buffer at once.
        fits: whether they fit.
        sum_bits: width at which partial sums are stored.
        grouped: whether they are rounded on the way, so that an engine is needed for it.
    """

    energy_pj: Mapping[str, FloatArray]
    cycles: Mapping[str, IntArray]
    resident_bits: IntArray
    fits: NDArray[np.bool_]
    sum_bits: IntArray
    grouped: NDArray[np.bool_]

    @property
    def total_pj(self) -> FloatArray:
        total: FloatArray = sum((self.energy_pj[part] for part in ENERGIES), np.zeros(()))
        return total

    @property
    def latency(self) -> IntArray:
        compute, sram, dram = (self.cycles[bound] for bound in BOUNDS)
        longest: IntArray = np.maximum(compute, np.maximum(sram, dram))
        return longest


def layer_costs(machine: Machine, layer: Layer, dataflow: Dataflow, at: Choice) -> LayerCosts:
    """Cost a layer at many choices under one dataflow."""
    product = product_of(layer, machine.array.pci)
    profile = machine.profile
    counted = accesses(
        product, dataflow, machine.array, count=profile.count, unique=profile.unique_inputs
    )
    sums = stored_sums(machine, product, dataflow, at)
    sram = _sram_bits(machine, counted, at, sums)
    dram = _dram_bits(machine, product, dataflow, counted, at, sums)
    energy = _energy(machine, layer, product, dataflow, at, sram, dram)
    on_chip = sum((read + write for read, write in sram.values()), np.zeros((), np.int64))
    off_chip = sum(dram.values(), np.zeros((), np.int64))
    if profile.systolic:
        compute = systolic_cycles(product, dataflow, machine.array)
    else:
        compute = parallel_cycles(product, machine.array)
    return LayerCosts(
        energy_pj=energy,
        cycles={
            "compute": np.asarray(layer.groups * compute),
            "sram": -(-layer.groups * on_chip // machine.sram_width),
            "dram": -(-layer.groups * off_chip // machine.dram_width),
        },
        resident_bits=sums.resident,
        fits=sums.fits,
        sum_bits=sums.bits,
        grouped=sums.grouped,
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSums:
    """Partial sums as they lie in their buffer.

    Attributes:
        bits: width of each.
        grouped: whether they are rounded on the way.
        resident: bits that lie there at once.
        fits: whether they fit.
    """

    bits: IntArray
    grouped: NDArray[np.bool_]
    resident: IntArray
    fits: NDArray[np.bool_]


def stored_sums(machine: Machine, product: Product, dataflow: Dataflow, at: Choice) -> StoredSums:
    """Return what becomes of a layer's partial sums at many choices."""
    stored = dataflow != "os" and product.sums > 1
    grouped = (at.w <= NARROW) & (at.a <= NARROW) & (at.p < WHOLE) & stored
    bits = np.where(grouped, at.p, WHOLE)
    alive = np.where(grouped, at.alive, 1)
    outputs = resident_sums(product, dataflow, machine.array) if stored else 0
    resident = outputs * bits * alive
    fits = resident <= _room(machine)
    return StoredSums(bits=bits, grouped=grouped, resident=resident, fits=fits)


def _room(machine: Machine) -> int:
    return int(machine.buffers.sum_kib * _KIB_BITS)


_Moved = Mapping[str, tuple[IntArray, IntArray]]


def _sram_bits(machine: Machine, counted: Accesses, at: Choice, sums: StoredSums) -> _Moved:
    """Return for each tensor the bits read from its buffer and written to it."""
    filled = int(machine.profile.fills)
    return {
        "weight": (counted.weight_reads * at.w, filled * counted.weight_fills * at.w),
        "input": (counted.input_reads * at.a, filled * counted.input_fills * at.a),
        "sum": (counted.sum_reads * sums.bits, counted.sum_writes * sums.bits),
        "output": (filled * counted.output_drains * at.o, counted.output_writes * at.o),
    }


def _dram_bits(
    machine: Machine,
    product: Product,
    dataflow: Dataflow,
    counted: Accesses,
    at: Choice,
    sums: StoredSums,
) -> Mapping[str, IntArray]:
    weights, inputs = counted.weight_fills * at.w, counted.input_fills * at.a
    folded, profile = folds(product, machine.array), machine.profile
    share = 2 if profile.double_buffered else 1
    weights_fit = weights * share <= machine.buffers.weight_kib * _KIB_BITS
    inputs_fit = inputs * share <= machine.buffers.input_kib * _KIB_BITS
    passes = 1 if machine.inputs_once and dataflow == "ws" else folded.n
    again = {
        "weight": np.where(weights_fit, weights, weights * folded.m),
        "input": np.where(inputs_fit, inputs, inputs * passes),
    }
    if dataflow == "ws":
        again["weight"] = weights
    elif dataflow == "is":
        again["input"] = inputs
    elif profile.os_refetch == "cheaper":
        columns_first = inputs + again["weight"] < again["input"] + weights
        again = {
            "weight": np.where(columns_first, again["weight"], weights),
            "input": np.where(columns_first, inputs, again["input"]),
        }
    moved = (counted.sum_reads + counted.sum_writes) * sums.bits
    if profile.spill == "all":
        spilled = np.where(sums.fits, 0, moved)
    else:
        over = np.maximum(sums.resident - _room(machine), 0) / np.maximum(sums.resident, 1)
        spilled = np.ceil(moved * over).astype(np.int64)
    return {**again, "sum": spilled, "output": counted.output_drains * at.o}


def _energy(
    machine: Machine,
    layer: Layer,
    product: Product,
    dataflow: Dataflow,
    at: Choice,
    sram: _Moved,
    dram: Mapping[str, IntArray],
) -> dict[str, FloatArray]:
    technology, profile, buffers = machine.technology, machine.profile, machine.buffers
    costs = {
        "weight": technology.sram_pj(buffers.weight_kib, sized=profile.sized_buffers),
        "input": technology.sram_pj(buffers.input_kib, sized=profile.sized_buffers),
        "sum": technology.sram_pj(buffers.sum_kib, sized=profile.sized_buffers),
    }
    costs["output"] = costs["sum"]
    added = 0 if dataflow == "os" else product.m * product.n * (product.sums - 1)
    energies = {
        "mac": layer.macs * technology.mac_pj(at.w, at.a),
        "accumulation": np.asarray(
            profile.accumulation * layer.groups * added * technology.add_pj(WHOLE)
        ),
    }
    for tensor, (read, written) in sram.items():
        energies[f"{tensor}_sram"] = layer.groups * _accessed(costs[tensor], read, written)
        energies[f"{tensor}_dram"] = layer.groups * (dram[tensor] * technology.dram_pj)
    return energies


def _accessed(cost: SramPoint, read: IntArray, written: IntArray) -> FloatArray:
    energy: FloatArray = read * cost.read_pj + written * cost.write_pj
    return energy
