"""A BitFusion array: fusion units, buffers and a link to DRAM, with what each event costs."""

from dataclasses import dataclass
from math import isqrt
from typing import Final

from dse.design import Layer

WIDEST: Final = 8
"""Bits of the widest operand that a fusion unit multiplies in one pass."""
NARROWEST: Final = 2
"""Bits of a brick's operands."""
ACCUMULATOR_BITS: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EventEnergy:
    """pJ of one event: a compute cycle of the whole array, or one bit read or written."""

    core: float
    wbuf_read: float
    wbuf_write: float
    ibuf_read: float
    ibuf_write: float
    obuf_read: float
    obuf_write: float
    dram: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionArray:
    """What the tiling of a layer depends on.

    Attributes:
        rows, columns: fusion units that share outputs, and that share inputs.
        wbuf_bits, ibuf_bits, obuf_bits: whole buffers; half of each holds a tile while the
            other half is filled.
        dram_bits_per_cycle: of reads and writes together.
        energy: decides between tilings that take equally long.
    """

    rows: int
    columns: int
    wbuf_bits: int
    ibuf_bits: int
    obuf_bits: int
    dram_bits_per_cycle: int
    energy: EventEnergy


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """Sizes of a layer's loops.

    Attributes:
        batch: inferences at a time; the rows of a matrix product count as such.
        side: of the square output; 1 for a matrix product.
        inputs, outputs: channels.
        unrolled: kernel positions are rows of the array beside input channels (im2col), as in
            the first convolution of a network.
    """

    batch: int
    inputs: int
    outputs: int
    side: int = 1
    kernel: int = 1
    stride: int = 1
    unrolled: bool = False

    @property
    def macs(self) -> int:
        return self.batch * (self.side * self.kernel) ** 2 * self.inputs * self.outputs


def throughput(a_bits: int, w_bits: int) -> int:
    """Return the products that one fusion unit forms per cycle, or per pass above 8 bits.

    BitFusion's simulator: floor(8 / max(a, 2)) floor(8 / max(w, 2)). Operands above 8 bits, for
    which it gives 0, run over time: see `pass_count`.
    """
    return _side(a_bits) * _side(w_bits)


def pass_count(a_bits: int, w_bits: int) -> int:
    """Return how often a product runs through a unit: twice for each operand above 8 bits."""
    return -(-composed_bits(a_bits) // WIDEST) * -(-composed_bits(w_bits) // WIDEST)


def _side(bits: int) -> int:
    return max(1, WIDEST // composed_bits(bits))


def composed_bits(bits: int) -> int:
    """Return the width that bricks compose: a power of two."""
    return 1 << (max(bits, NARROWEST) - 1).bit_length()


def loops_of(layer: Layer, *, batch: int, first: bool) -> tuple[Loops, int]:
    """Return a layer's loops and how often they run, one after another, for a batch.

    A convolution keeps its square window. Whatever has no square output, or no kernel, is a
    matrix product whose rows count as batch. Groups run one by one, and so do the inferences of
    a product of two activations: their second operands differ.

    Args:
        first: it is the network's first layer, which unrolls its kernel if it has one.
    """
    rows = 1 if layer.dynamic else batch
    repeats = layer.groups * (batch if layer.dynamic else 1)
    side = _square_root(layer.m)
    window = layer.kernel**2
    if (layer.kernel > 1 or layer.stride > 1) and side is not None and layer.k % window == 0:
        loops = Loops(
            batch=rows,
            inputs=layer.k // window,
            outputs=layer.n,
            side=side,
            kernel=layer.kernel,
            stride=layer.stride,
            unrolled=first and layer.kernel > 1,
        )
        return loops, repeats
    return Loops(batch=rows * layer.m, inputs=layer.k, outputs=layer.n), repeats


def _square_root(number: int) -> int | None:
    root = isqrt(number)
    return root if root * root == number else None
