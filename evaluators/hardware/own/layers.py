"""What one layer does on an accelerator of a platform file: exact counts, no prices.

SRAM traffic is that of `evaluators.hardware.accesses`, partial sums counted tight: n - 1 reads and
writes of n, and the finished output at its own width. DRAM brings weights and inputs once if they
fit their buffers, and otherwise again for each pass over them; partial sums that do not fit their
buffer go to DRAM with all of their traffic.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from dse.canonical import alive_codes
from dse.design import Layer, Value
from evaluators.hardware.accesses import (
    Accesses,
    Array,
    Dataflow,
    Product,
    accesses,
    folds,
    product_of,
    resident_sums,
    systolic_cycles,
)
from evaluators.hardware.own.definition import Buffer, Definition, Speed

NARROW: Final = 8
"""Partial sums of wider operands are kept whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """A memory in bits and bits a cycle; `room` is what of it holds data that are worked on."""

    room: int
    bandwidth: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the throughput table: widths it holds, products a cycle, cycles a product."""

    w: int
    a: int
    packed: int
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What counts depend on.

    Attributes:
        sum_bits: width of partial sums that are kept whole.
    """

    rows: int
    columns: int
    sum_bits: int
    lines: tuple[Line, ...]
    weights: Memory
    activations: Memory
    sums: Memory
    dram: Fraction

    def line(self, w: int, a: int) -> int:
        """Return the place of the fastest line that holds both widths."""
        holding = [i for i, line in enumerate(self.lines) if w <= line.w and a <= line.a]
        return max(holding, key=lambda i: (Fraction(*self._rate(i)), -i))

    def _rate(self, i: int) -> tuple[int, int]:
        return self.lines[i].packed, self.lines[i].cycles

    def array(self, line: Line, dataflow: Dataflow) -> Array:
        """Return the sides: rows take reduction elements, or under os output rows; columns take
        output columns, or under is output rows."""
        if dataflow == "os":
            return Array(pci=line.packed, pco=self.columns, po=self.rows)
        return Array(pci=self.rows * line.packed, pco=self.columns, po=self.columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a layer stands at.

    Attributes:
        w, a: widths of weights and inputs.
        p: width of stored partial sums, as chosen; None: they are kept whole.
        group: of partial sums, as chosen.
        o: width of finished outputs.
    """

    dataflow: Dataflow
    w: int
    a: int
    o: int
    p: int | None = None
    group: Value = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of all groups of a layer: cycles that each part would take alone, bits, partial sums.

    Attributes:
        sum_bits: width at which partial sums are stored.
        resident_bits: partial sums in their buffer at once.
        added_bits: of partial sums added outside of the multipliers.
    """

    line: int
    compute_cycles: int
    sram_cycles: int
    dram_cycles: int
    weights_read: int
    weights_write: int
    activations_read: int
    activations_write: int
    sums_read: int
    sums_write: int
    dram_read: int
    dram_write: int
    added_bits: int
    sum_bits: int
    resident_bits: int
    fits: bool

    @property
    def cycles(self) -> int:
        return max(self.compute_cycles, self.sram_cycles, self.dram_cycles)

    @property
    def bound_by(self) -> str:
        bounds = {
            "compute": self.compute_cycles,
            "sram": self.sram_cycles,
            "dram": self.dram_cycles,
        }
        return next(bound for bound, cycles in bounds.items() if cycles == self.cycles)


class NoRoomError(ValueError):
    """A buffer does not hold what the array works on at once."""


def machine_of(given: Definition) -> Machine:
    """Return what counts depend on."""
    share = 2 if given.double_buffered else 1
    return Machine(
        rows=int(given.array.rows.of("count")),
        columns=int(given.array.columns.of("count")),
        sum_bits=int(given.sums.of("width")),
        lines=tuple(_line(speed) for speed in given.throughput),
        weights=_memory(given.buffers.weights, share),
        activations=_memory(given.buffers.activations, share),
        sums=_memory(given.buffers.sums, 1),  # updated in place, never halved
        dram=given.dram.bandwidth.of("bandwidth"),
    )


def _line(speed: Speed) -> Line:
    return Line(w=speed.w_bits, a=speed.a_bits, packed=speed.packed, cycles=speed.cycles)


def _memory(buffer: Buffer, share: int) -> Memory:
    room = int(buffer.size.of("size")) // share
    return Memory(room=room, bandwidth=buffer.bandwidth.of("bandwidth"))


def counts(machine: Machine, layer: Layer, at: Choice) -> Counts:
    """Count what a layer does.

    Raises:
        NoRoomError: a buffer does not hold one filling of the array.
    """
    line = machine.line(at.w, at.a)
    array = machine.array(machine.lines[line], at.dataflow)
    product = product_of(layer, array.pci)
    counted = accesses(product, at.dataflow, array, count="tight", unique=False)
    stored = counted.sum_reads > 0
    whole = at.p is None or not stored or max(at.w, at.a) > NARROW
    sum_bits = machine.sum_bits if whole or at.p is None else min(at.p, machine.sum_bits)
    alive = 1 if whole else alive_codes(at.group, product.sums)
    _refuse_no_room(machine, product, array, at, machine.sum_bits if stored else at.o)
    resident = resident_sums(product, at.dataflow, array) * sum_bits * alive if stored else 0
    fits = resident <= machine.sums.room
    weights, inputs = _fetched(machine, product, array, counted, at)
    spilled = 0 if fits else counted.sum_reads * sum_bits
    outputs = counted.output_writes * at.o
    groups, packed = layer.groups, machine.lines[line].packed
    # products packed into one cycle shorten the reduction, and leave the sides as they are
    shorter = replace(product, k=-(-product.k // packed))
    one_by_one = machine.array(replace(machine.lines[line], packed=1), at.dataflow)
    compute = systolic_cycles(shorter, at.dataflow, one_by_one) * machine.lines[line].cycles
    sums = counted.sum_reads * sum_bits + outputs
    moved = {
        "weights": (counted.weight_reads * at.w, weights),
        "activations": (counted.input_reads * at.a, inputs),
        "sums": (sums, sums),
    }
    memories = (machine.weights, machine.activations, machine.sums)
    bits = zip(moved.values(), memories, strict=True)
    dram_read, dram_write = weights + inputs + spilled, outputs + spilled
    return Counts(
        line=line,
        compute_cycles=groups * compute,
        sram_cycles=max(_cycles(groups * sum(both), m.bandwidth) for both, m in bits),
        dram_cycles=_cycles(groups * (dram_read + dram_write), machine.dram),
        weights_read=groups * moved["weights"][0],
        weights_write=groups * moved["weights"][1],
        activations_read=groups * moved["activations"][0],
        activations_write=groups * moved["activations"][1],
        sums_read=groups * moved["sums"][0],
        sums_write=groups * moved["sums"][1],
        dram_read=groups * dram_read,
        dram_write=groups * dram_write,
        added_bits=groups * counted.sum_reads * sum_bits,
        sum_bits=sum_bits if stored else machine.sum_bits,
        resident_bits=resident,
        fits=fits,
    )


def _cycles(bits: int, bandwidth: Fraction) -> int:
    return -(-bits * bandwidth.denominator // bandwidth.numerator)


def _fetched(
    machine: Machine, product: Product, array: Array, counted: Accesses, at: Choice
) -> tuple[int, int]:
    """Return the bits of weights and of inputs that DRAM brings for one group."""
    weights, inputs = counted.weight_fills * at.w, counted.input_fills * at.a
    folded = folds(product, array)
    weights_again = weights if weights <= machine.weights.room else weights * folded.m
    inputs_again = inputs if inputs <= machine.activations.room else inputs * folded.n
    if at.dataflow == "ws":
        return weights, inputs_again
    if at.dataflow == "is":
        return weights_again, inputs
    # os: the order of loops that fetches less
    if weights + inputs_again <= weights_again + inputs:
        return weights, inputs_again
    return weights_again, inputs


def _refuse_no_room(
    machine: Machine, product: Product, array: Array, at: Choice, sum_bits: int
) -> None:
    k = min(product.k, array.pci)
    n, m = min(product.n, array.pco), min(product.m, array.po)
    weights = k * (n if at.dataflow != "is" else 1) * at.w
    inputs = k * (m if at.dataflow != "ws" else 1) * at.a
    sums = (m if at.dataflow == "is" else n) * sum_bits
    needed = {
        "weights": (weights, machine.weights.room),
        "activations": (inputs, machine.activations.room),
        "sums": (sums, machine.sums.room),
    }
    told = [
        f"buffers.{name} has room for {room} bits, and one filling of the array takes {bits}"
        for name, (bits, room) in needed.items()
        if bits > room
    ]
    if told:
        raise NoRoomError("; ".join(told))
