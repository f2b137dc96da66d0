"""BitFusion's tiling simulator: the fastest tiling and loop order of a layer.

Of all tiles whose sides are powers of two (clipped to the layer) and fit half of each buffer, and
of all orders of the loops over tiles, the one of fewest cycles is taken, then of least energy,
then of least traffic (hsharma35/bitfusion, its optimizer and statistics).

All counts of all tiles are numpy columns. A tile whose compulsory traffic alone takes longer than
a schedule already found is never ordered; neither are loops that run once.
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations
from math import prod
from typing import Final

import numpy as np

from dse.ports import IntArray
from evaluators.hardware.fusion.array import (
    ACCUMULATOR_BITS,
    FusionArray,
    Loops,
    pass_count,
    throughput,
)
from evaluators.hardware.fusion.schedule import LOOPS, Schedule

_MOST_BITS: Final = 2**61
_FIRST_ORDERED: Final = 32

_BATCH, _WIDTH, _HEIGHT, _INPUTS, _OUTPUTS = range(5)
_WEIGHTS: Final = frozenset({_INPUTS, _OUTPUTS})
_ACTIVATIONS: Final = frozenset({_BATCH, _WIDTH, _HEIGHT, _INPUTS})
_SUMS: Final = frozenset({_BATCH, _WIDTH, _HEIGHT, _OUTPUTS})

_Rank = tuple[int, float, tuple[int, ...], tuple[int, ...], tuple[str, ...]]


class NoTilingError(ValueError):
    """No tile of a layer fits half of each buffer, or its counts exceed 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tiles:
    """Every tile of a layer that fits, a column an attribute: (n_tiles,).

    Attributes:
        tile: (4, n_tiles): batch, side, input and output channels.
        trips: (5, n_tiles): how often each loop of `LOOPS` runs.
        weights, activations, sums: bits of a tile.
        compute: cycles of the whole layer.
    """

    tile: IntArray
    trips: IntArray
    weights: IntArray
    activations: IntArray
    sums: IntArray
    compute: IntArray

    def at(self, chosen: IntArray) -> "_Tiles":
        return _Tiles(
            tile=self.tile[:, chosen],
            trips=self.trips[:, chosen],
            weights=self.weights[chosen],
            activations=self.activations[chosen],
            sums=self.sums[chosen],
            compute=self.compute[chosen],
        )


def schedule(loops: Loops, array: FusionArray, a_bits: int, w_bits: int) -> Schedule:
    """Return the fastest schedule of a layer.

    Raises:
        NoTilingError: no tile fits, or counts exceed 64 bits.
    """
    if _upper_bound(loops, array) >= _MOST_BITS:
        raise NoTilingError("its counts of bits exceed 64-bit integers")
    tiles = _fitting(_all_tiles(loops, array, a_bits, w_bits), array)
    if not tiles.compute.size:
        raise NoTilingError(_why_none_fits(loops, array, a_bits, w_bits))
    bound = _fewest_cycles(tiles, array)
    by_bound = np.argsort(bound, kind="stable")
    best = _best(tiles.at(by_bound[:_FIRST_ORDERED]), loops, array, a_bits, w_bits)
    rest = by_bound[_FIRST_ORDERED:]
    rest = rest[bound[rest] <= best.cycles]
    if not rest.size:
        return best
    other = _best(tiles.at(rest), loops, array, a_bits, w_bits)
    return min(best, other, key=lambda found: _rank(found, array))


def _upper_bound(loops: Loops, array: FusionArray) -> int:
    """Bound every count of any tile, in Python's integers."""
    seen = (loops.kernel * (2 * loops.side * loops.stride + loops.kernel)) ** 2
    channels = (2 * loops.inputs + 16 * array.rows) * 2 * (loops.outputs + array.columns)
    return 2 * loops.batch * seen * channels * 2 * ACCUMULATOR_BITS


def _why_none_fits(loops: Loops, array: FusionArray, a_bits: int, w_bits: int) -> str:
    least = Loops(
        batch=1,
        inputs=1,
        outputs=1 if loops.unrolled else min(loops.outputs, array.columns),
        kernel=loops.kernel,
        stride=loops.stride,
        unrolled=loops.unrolled,
    )
    tiles = _all_tiles(least, array, a_bits, w_bits)
    needs = {
        "WBUF": (int(tiles.weights[0]), array.wbuf_bits),
        "IBUF": (int(tiles.activations[0]), array.ibuf_bits),
        "OBUF": (int(tiles.sums[0]), array.obuf_bits),
    }
    told = [
        f"{buffer} of {size} bits, of which half holds a tile, and the smallest takes {bits}"
        for buffer, (bits, size) in needs.items()
        if 2 * bits > size
    ]
    return "no tile of it fits: " + "; ".join(told)


def _all_tiles(loops: Loops, array: FusionArray, a_bits: int, w_bits: int) -> _Tiles:
    inputs_at_once = array.rows * throughput(a_bits, w_bits)
    window = loops.kernel**2
    step = 1 if loops.unrolled else array.columns
    grid = np.meshgrid(
        _sizes(loops.batch),
        _sizes(loops.side),
        _sizes(loops.inputs),
        _sizes(loops.outputs, step),
        indexing="ij",
    )
    tile = np.stack([axis.reshape(-1) for axis in grid])
    batch, side, inputs, outputs = tile
    along = _parts(loops.side, side)
    trips = np.stack(
        [
            _parts(loops.batch, batch),
            along,
            along,
            _parts(loops.inputs, inputs),
            _parts(loops.outputs, outputs),
        ]
    )
    columns = _parts(outputs, array.columns)
    folds = _parts(window * inputs, inputs_at_once)
    if loops.unrolled:
        seen, reduction = side**2 * window, folds
    else:
        seen = (loops.kernel + (side - 1) * loops.stride) ** 2
        reduction = window * _parts(inputs, inputs_at_once)
    per_tile = batch * side**2 * columns * reduction * pass_count(a_bits, w_bits)
    return _Tiles(
        tile=tile,
        trips=trips,
        weights=folds * inputs_at_once * outputs * w_bits,
        activations=seen * inputs * batch * a_bits,
        sums=side**2 * columns * array.columns * batch * ACCUMULATOR_BITS,
        compute=trips.prod(axis=0) * per_tile,
    )


def _sizes(size: int, step: int = 1) -> IntArray:
    """Return step 2^k for k = 0, 1, ..., the last clipped to `size`."""
    blocks = -(-size // step)
    powers = step << np.arange((blocks - 1).bit_length() + 1, dtype=np.int64)
    return np.unique(np.minimum(powers, size))


def _parts(size: int | IntArray, part: int | IntArray) -> IntArray:
    return np.asarray(-(-size // part), dtype=np.int64)


def _fitting(tiles: _Tiles, array: FusionArray) -> _Tiles:
    fits = (
        (2 * tiles.weights <= array.wbuf_bits)
        & (2 * tiles.activations <= array.ibuf_bits)
        & (2 * tiles.sums <= array.obuf_bits)
    )
    return tiles.at(np.flatnonzero(fits))


def _fewest_cycles(tiles: _Tiles, array: FusionArray) -> IntArray:
    """Bound the cycles from below, whatever the order: each tensor moves once at least, and
    nothing hides the load of the first tile and the store of the last."""
    batch, width, height, inputs, outputs = tiles.trips
    rows = batch * width * height
    moved = (
        tiles.weights * inputs * outputs
        + tiles.activations * rows * inputs
        + 2 * tiles.sums * rows * outputs
    )
    link = array.dram_bits_per_cycle
    first = tiles.weights + tiles.activations + tiles.sums
    latency = _parts(first, link) + _parts(tiles.sums, link)
    return np.maximum(tiles.compute + latency, _parts(moved, link))


def _best(tiles: _Tiles, loops: Loops, array: FusionArray, a_bits: int, w_bits: int) -> Schedule:
    """Return the best schedule over some tiles and all loop orders."""
    orders = _orders(tuple(np.flatnonzero((tiles.trips > 1).any(axis=1)).tolist()))
    (all_w, first_w), (all_a, first_a), (all_o, first_o) = (
        _moved(bits, orders, depends, tiles.trips, capacity)
        for bits, depends, capacity in (
            (tiles.weights, _WEIGHTS, array.wbuf_bits),
            (tiles.activations, _ACTIVATIONS, array.ibuf_bits),
            (tiles.sums, _SUMS, array.obuf_bits),
        )
    )
    first, link = first_w + first_a + first_o, array.dram_bits_per_cycle
    transfer = _parts(all_w + all_a + 2 * all_o - first - first_o, link)
    latency = _parts(first, link) + _parts(first_o, link)
    cycles = np.maximum(tiles.compute, transfer) + latency
    order, tile = np.nonzero(cycles == cycles.min())
    moved = (all_w, all_a, all_o, transfer, latency)
    # many orders move the same bits of the same tile
    told = np.stack([tile, *(column[order, tile] for column in moved)])
    _, distinct = np.unique(told, axis=1, return_index=True)
    found = (
        _counted(tiles, told[:, i].tolist(), orders[order[i]], loops, (a_bits, w_bits))
        for i in distinct
    )
    return min(found, key=lambda candidate: _rank(candidate, array))


@cache
def _orders(running: tuple[int, ...]) -> IntArray:
    """Return the orders that can differ, (n_orders, n_loops), innermost first: width and height
    run equally often, and a loop that never runs twice changes nothing."""
    orders = [
        order
        for order in permutations(running)
        if _WIDTH not in order or order.index(_WIDTH) < order.index(_HEIGHT)
    ]
    return np.array(orders, dtype=np.int64).reshape(len(orders), len(running))


def _moved(
    bits: IntArray,
    orders: IntArray,
    depends: frozenset[int],
    trips: IntArray,
    capacity: int,
) -> tuple[IntArray, IntArray]:
    """Return a tensor's bits moved one way in all, and those of its first load, each
    (n_orders, n_tiles).

    From the innermost loop outwards, the tile grows by each loop that the tensor depends on
    while it fits half of the buffer; from the first that it does not fit on, it is moved again in
    every turn of every loop.
    """
    total = np.broadcast_to(bits, (len(orders), bits.size))
    resident, streams = total, np.zeros(total.shape, dtype=np.bool_)
    for loops in orders.T:
        own = np.isin(loops, list(depends))[:, None]
        total = np.where(own | streams, total * trips[loops], total)
        streams = streams | (own & (2 * total > capacity))
        resident = np.where(own & ~streams, total, resident)
    return total, resident


def _counted(
    tiles: _Tiles, told: list[int], order: IntArray, loops: Loops, bits: tuple[int, int]
) -> Schedule:
    i, weights, activations, sums, transfer, latency = told
    a_bits, w_bits = bits
    tile, trips = tiles.tile[:, i].tolist(), tiles.trips[:, i].tolist()
    batch, side, inputs, outputs = tile
    # sums stay while a tile is reduced: with two terms or more that moves the fewest bits
    results = prod(trips) * outputs * side**2 * batch
    products = results * loops.kernel**2 * inputs
    return Schedule(
        tile=(batch, side, inputs, outputs),
        order=tuple(LOOPS[loop] for loop in order[::-1].tolist() if trips[loop] > 1),
        compute_cycles=int(tiles.compute[i]),
        transfer_cycles=transfer,
        latency_cycles=latency,
        ibuf_read=products * a_bits,
        ibuf_write=activations,
        wbuf_read=products * w_bits,
        wbuf_write=weights,
        obuf_read=ACCUMULATOR_BITS * results + sums,
        obuf_write=ACCUMULATOR_BITS * results + sums,
        dram_read=weights + activations + sums,
        dram_write=sums,
    )


def _rank(found: Schedule, array: FusionArray) -> _Rank:
    energy = sum(found.energy_pj(array.energy).values())
    traffic = (
        found.dram_read,
        found.dram_write,
        found.obuf_read,
        found.wbuf_read + found.wbuf_write,
        found.ibuf_read + found.ibuf_write,
    )
    # of tiles that cost the same the larger, so that the result depends on no enumeration
    size = tuple(-length for length in found.tile)
    return found.cycles, energy, traffic, size, found.order
