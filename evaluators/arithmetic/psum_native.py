"""Weights as the native kernel reads them, and its call."""

import ctypes
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from evaluators.arithmetic.native.library import REFUSAL, Kernel, Product, find_kernel
from evaluators.arithmetic.psum_plan import PsumPlan
from evaluators.arithmetic.psum_reference import psum_reference

_log = logging.getLogger(__name__)

INT32_LIMIT: Final = 2**31
AVX2, VNNI = "avx2", "vnni"

_COLUMNS = 16
_PER_LANE: Final[Mapping[str, int]] = {AVX2: 2, VNNI: 4}  # products that one 32-bit lane adds up
_LEVELS: Final[Mapping[str, int]] = {AVX2: 1, VNNI: 2}
_KINDS: Final[Mapping[torch.dtype, int]] = {
    torch.int8: 0,
    torch.uint8: 1,
    torch.int16: 2,
    torch.float32: 3,
}
_INT8_OFFSET = 128


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedWeights:
    """Weights (batch, n, k) cut into tiles, for products with any exponents, groups and widths
    of sums.

    Attributes:
        level: whose instructions they are for.
        codes: (batch, blocks of 16 channels, tiles, padded tile / per lane, 16, per lane): int8
            for VNNI, int16 for AVX2.
        sums: (batch, blocks, tiles, 16), int32: of each channel's weights in each tile.
    """

    level: str
    n: int
    padded: int
    codes: Tensor
    sums: Tensor


def pack_weights(w: Tensor, tile: int, level: str) -> PackedWeights:
    """Pack weights (batch, n, k): of int8 for VNNI, int8 or int16 for AVX2."""
    batch, n, k = w.shape
    tile = min(tile, k)
    tiles, blocks, per_lane = -(-k // tile), -(-n // _COLUMNS), _PER_LANE[level]
    padded = -(-tile // per_lane) * per_lane
    w = w.to(torch.int8 if level == VNNI else torch.int16)
    w = functional.pad(w, (0, tiles * tile - k, 0, blocks * _COLUMNS - n))
    w = functional.pad(w.reshape(batch, blocks, _COLUMNS, tiles, tile), (0, padded - tile))
    lanes = w.reshape(batch, blocks, _COLUMNS, tiles, padded // per_lane, per_lane)
    return PackedWeights(
        level=level,
        n=n,
        padded=padded,
        codes=lanes.permute(0, 1, 3, 4, 2, 5).contiguous(),
        sums=w.sum(dim=-1, dtype=torch.int32).transpose(2, 3).contiguous(),
    )


def native_product(
    kernel: Kernel, x: Tensor, weights: PackedWeights, plan: PsumPlan, *, zero_point: int = 0
) -> Tensor:
    """Return (x - zero_point) times the weights transposed, int32 (batch, m, n).

    Args:
        x: (batch, m, k), int8 or uint8, for AVX2 also int16; or such integers held as float32,
            which VNNI takes for int8.
    """
    x = x.contiguous()
    batch, m, _ = x.shape
    out = torch.empty(batch, m, weights.n, dtype=torch.int32)
    offset, corrections = _offsets(x.dtype, weights, plan, zero_point)
    steps = _steps(plan)
    task = Product(
        x=x.data_ptr(),
        weights=weights.codes.data_ptr(),
        corrections=corrections.data_ptr(),
        steps=steps.ctypes.data,
        out=out.data_ptr(),
        batch=batch,
        m=m,
        k=plan.k,
        n=weights.n,
        tile=min(plan.tile, plan.k),
        padded=weights.padded,
        tiles=plan.tiles,
        kind=_KINDS[x.dtype],
        offset=offset,
    )
    kernel.run(ctypes.byref(task), _LEVELS[weights.level])
    return out


def _offsets(
    dtype: torch.dtype, weights: PackedWeights, plan: PsumPlan, zero_point: int
) -> tuple[int, Tensor]:
    """Return what is added to x, and what each tile's sum starts from: the half of its rounding,
    less what the kernel multiplies beyond x - zero_point."""
    halves = torch.tensor([1 << e >> 1 for e in plan.exponents], dtype=torch.int32)[:, None]
    if weights.level == AVX2:
        return -zero_point, halves.expand(weights.sums.shape).contiguous()
    # VNNI multiplies unsigned codes by signed ones
    offset = 0 if dtype == torch.uint8 else _INT8_OFFSET
    return offset, halves - weights.sums * (offset + zero_point)


def _steps(plan: PsumPlan) -> "np.ndarray[tuple[int, int], np.dtype[np.int32]]":
    rows = [
        (
            -1 << exponent,
            max(plan.low << exponent, -INT32_LIMIT),
            min(plan.high << exponent, INT32_LIMIT - 1),
            int(plan.folds(step)),
        )
        for step, exponent in enumerate(plan.exponents)
    ]
    return np.array(rows, dtype=np.int64).astype(np.int32)


@cache
def proven_kernel() -> Kernel | None:
    """Return the kernel once it has computed what the reference does, on every level; None where
    there is none. Looked for once a process."""
    kernel = find_kernel()
    if kernel is not None and not all(_proven(kernel, level) for level in kernel.levels):
        _log.warning(REFUSAL, "it computes something else than the reference")
        return None
    return kernel


def _proven(kernel: Kernel, level: str) -> bool:
    generator = torch.Generator().manual_seed(0)
    x, w = (
        torch.randint(-128, 128, size, generator=generator, dtype=torch.int8)
        for size in ((7, 19), (21, 19))
    )
    plan = PsumPlan(k=19, tile=6, group_size=2, psum_bits=8, exponents=(6, 9, 7, 10))
    packed = pack_weights(w[None], plan.tile, level)
    wanted = torch.from_numpy(psum_reference(x, w, plan))
    return torch.equal(native_product(kernel, x[None], packed, plan)[0].to(torch.int64), wanted)
