"""Accesses of one matrix product on an array, in elements and in closed form.

An array takes `pci` reduction elements, `pco` output columns and `po` rows (output positions) at
a time, each processing element holding one operand. Dataflow ws keeps weights in the array and
streams rows, is keeps inputs and streams columns, os keeps outputs and streams the reduction. The
forms are those of Eyeriss and APSQ (arXiv 2505.03748); with two of the three sides each they are
ZigZag's.
"""

from dataclasses import dataclass
from typing import Final, Literal, final

from dse.design import Layer

Dataflow = Literal["ws", "is", "os"]
DATAFLOWS: Final[tuple[Dataflow, ...]] = ("ws", "is", "os")

Count = Literal["tight", "zigzag"]
"""How partial sums are counted. tight: n - 1 reads and writes of n sums, and the finished output
written at its own width. zigzag: n reads and writes of n > 1 sums, the first "read of zero" and
the last write included, at the width of partial sums."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """Sides of an array: reduction elements, output columns and rows that it takes at a time."""

    pci: int
    pco: int
    po: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One group of a layer: (m x k) times (k x n).

    Attributes:
        inputs: distinct input elements; less than m * k where windows overlap.
        sums: partial sums of an output.
    """

    m: int
    k: int
    n: int
    inputs: int
    sums: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """How often the array is filled along the reduction (k), the columns (n) and the rows (m)."""

    k: int
    n: int
    m: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """Elements moved between the buffers and the array, and between the buffers and DRAM if
    each tensor is moved once (fills and drains)."""

    weight_reads: int
    input_reads: int
    sum_reads: int
    sum_writes: int
    output_writes: int
    weight_fills: int
    input_fills: int
    output_drains: int


def partial_sums(layer: Layer, pci: int) -> int:
    """Return how many partial sums make up an output of `layer`: 1 for a depthwise convolution,
    whose window is summed inside the array."""
    return 1 if layer.depthwise else -(-layer.k // pci)


def product_of(layer: Layer, pci: int) -> Product:
    """Return one group of a layer."""
    inputs = layer.m * layer.k
    if layer.input_elements is not None:
        inputs = -(-layer.input_elements // layer.groups)
    return Product(m=layer.m, k=layer.k, n=layer.n, inputs=inputs, sums=partial_sums(layer, pci))


def folds(product: Product, array: Array) -> Folds:
    return Folds(
        k=-(-product.k // array.pci),
        n=-(-product.n // array.pco),
        m=-(-product.m // array.po),
    )


def accesses(
    product: Product, dataflow: Dataflow, array: Array, *, count: Count, unique: bool
) -> Accesses:
    """Count the accesses of one product.

    Args:
        unique: under is, overlapping windows are read from the buffer once; otherwise m * k
            elements are, as after im2col.
    """
    folded = folds(product, array)
    weights, rows, outputs = product.k * product.n, product.m * product.k, product.m * product.n
    whole = dataflow == "os" or product.sums == 1
    stored = 0 if whole else product.sums - (count == "tight")
    own_width = whole or count == "tight"
    held = product.inputs if unique else rows
    return Accesses(
        weight_reads=weights if dataflow == "ws" else weights * folded.m,
        input_reads=held if dataflow == "is" else rows * folded.n,
        sum_reads=outputs * stored,
        sum_writes=outputs * stored,
        output_writes=outputs if own_width else 0,
        weight_fills=weights,
        input_fills=product.inputs,
        output_drains=outputs,
    )


def resident_sums(product: Product, dataflow: Dataflow, array: Array) -> int:
    """Return how many outputs have partial sums in the buffer at once; each of them needs room
    for as many codes as its group keeps alive."""
    if dataflow == "os":
        return 0
    return product.m * array.pco if dataflow == "ws" else array.po * product.n


def parallel_cycles(product: Product, array: Array) -> int:
    """Return the cycles of an array that does pci * pco * po products in each, without fills."""
    folded = folds(product, array)
    return folded.k * folded.n * folded.m


def systolic_cycles(product: Product, dataflow: Dataflow, array: Array) -> int:
    """Return the cycles of a systolic array of two of the sides, with its fills and drains.

    They are SCALE-Sim's (v3): ws pci x pco, is pci x po, os po x pco. SCALE-Sim itself prints the
    number of the last cycle, one less.
    """
    folded = folds(product, array)
    if dataflow == "ws":
        passes, rows, columns, streamed = folded.k * folded.n, array.pci, array.pco, product.m
    elif dataflow == "is":
        passes, rows, columns, streamed = folded.k * folded.m, array.pci, array.po, product.n
    else:
        passes, rows, columns, streamed = folded.m * folded.n, array.po, array.pco, product.k
    fill = rows + columns - 2 + (0 if dataflow == "os" else rows)
    return passes * (fill + streamed)
