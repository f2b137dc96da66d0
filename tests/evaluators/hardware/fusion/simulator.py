"""BitFusion's tiling simulator as it is written down: plain loops over plain integers, all tiles,
all 120 orders. Slow, obvious, and the oracle of `evaluators.hardware.fusion.tiling`."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product

from evaluators.hardware.fusion.array import FusionArray, Loops

DEPENDS = {"W": "IO", "A": "BWHI", "O": "BWHO"}


@dataclass(frozen=True, order=True)
class Counts:
    """In the order in which schedules are preferred."""

    cycles: int
    energy: float
    dram_read: int
    dram_write: int
    obuf: int
    wbuf: int
    ibuf: int
    stalls: int
    compute: int


def cd(size: int, part: int) -> int:
    return -(-size // part)


def powers(size: int, unit: int = 1) -> list[int]:
    """min(2^k unit, size) for k = 0 .. ceil(log2 ceil(size / unit))."""
    found, part = [min(unit, size)], unit
    while part < size:
        part *= 2
        found.append(min(part, size))
    return found


def best(loops: Loops, array: FusionArray, a: int, w: int) -> Counts | None:
    """The least of all schedules; None if no tile fits."""
    return min(every(loops, array, a, w), default=None)


def every(loops: Loops, array: FusionArray, a: int, w: int) -> Iterator[Counts]:
    for b, o, ic, oc in product(
        powers(loops.batch),
        powers(loops.side),
        powers(loops.inputs),
        powers(loops.outputs, 1 if loops.unrolled else array.columns),
    ):
        yield from _ordered(loops, array, (a, w), (b, o, ic, oc))


def _ordered(
    loops: Loops, array: FusionArray, bits: tuple[int, int], tile: tuple[int, int, int, int]
) -> Iterator[Counts]:
    (a, w), (b, o, ic, oc) = bits, tile
    kernel, stride, columns = loops.kernel, loops.stride, array.columns
    side_a, side_w = (max(1, 8 // power(x)) for x in bits)
    passes = max(1, power(a) // 8) * max(1, power(w) // 8)
    g = array.rows * side_a * side_w
    trips = {
        "B": cd(loops.batch, b),
        "W": cd(loops.side, o),
        "H": cd(loops.side, o),
        "I": cd(loops.inputs, ic),
        "O": cd(loops.outputs, oc),
    }
    turns = trips["B"] * trips["W"] * trips["H"] * trips["I"] * trips["O"]
    seen = o**2 * kernel**2 if loops.unrolled else (kernel + (o - 1) * stride) ** 2
    size = {
        "W": cd(kernel**2 * ic, g) * g * oc * w,
        "A": seen * ic * b * a,
        "O": o**2 * cd(oc, columns) * columns * b * 32,
    }
    capacity = {"W": array.wbuf_bits, "A": array.ibuf_bits, "O": array.obuf_bits}
    if any(2 * size[x] > capacity[x] for x in size):
        return
    reduction = cd(kernel**2 * ic, g) if loops.unrolled else kernel**2 * cd(ic, g)
    compute = passes * turns * b * o**2 * cd(oc, columns) * reduction
    results = turns * oc * o**2 * b
    products = results * kernel**2 * ic
    e, bw = array.energy, array.dram_bits_per_cycle
    for order in permutations("BWHIO"):
        moved, resident = _moves(order, trips, size, capacity)
        read = moved["W"] + moved["A"] + moved["O"]
        first, last = sum(resident.values()), resident["O"]
        middle = read + moved["O"] - first - last
        stalls = max(0, cd(middle, bw) - compute) + cd(first, bw) + cd(last, bw)
        sums = 32 * results + moved["O"]
        energy = (
            compute * e.core
            + (products * w * e.wbuf_read + moved["W"] * e.wbuf_write)
            + (products * a * e.ibuf_read + moved["A"] * e.ibuf_write)
            + (sums * e.obuf_read + sums * e.obuf_write)
            + (read + moved["O"]) * e.dram
        )
        yield Counts(
            cycles=compute + stalls,
            energy=energy,
            dram_read=read,
            dram_write=moved["O"],
            obuf=sums,
            wbuf=products * w + moved["W"],
            ibuf=products * a + moved["A"],
            stalls=stalls,
            compute=compute,
        )


def _moves(
    order: tuple[str, ...], trips: dict[str, int], size: dict[str, int], capacity: dict[str, int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Bits moved once per direction, and resident at the start; `order` is outermost first."""
    moved, resident = dict(size), dict(size)
    for tensor in size:
        is_open = True
        for loop in reversed(order):
            if not is_open:
                moved[tensor] *= trips[loop]
            elif loop in DEPENDS[tensor]:
                moved[tensor] *= trips[loop]
                if 2 * moved[tensor] > capacity[tensor]:
                    is_open = False
                else:
                    resident[tensor] = moved[tensor]
    return moved, resident


def power(bits: int) -> int:
    found = 2
    while found < bits:
        found *= 2
    return found
