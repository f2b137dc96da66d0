"""Operands and plans on which partial sums are tried."""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from evaluators.arithmetic.psum import NATIVE_AVX2, NATIVE_VNNI, REFERENCE, TORCH
from evaluators.arithmetic.psum_native import proven_kernel

SCALAR_TILES = (-419, -859, -816, 715, -705, 786)
SCALAR_EXPONENTS = (3, 3, 4, 4, 4, 4)
SCALAR_TILE = 7
"""The example of one output of the sheet on APSQ: six tiles of exact sum -1298."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    x: Tensor
    w: Tensor
    tile: int
    group_size: int
    exponents: list[int]
    psum_bits: int
    zero_point: int


def implementations() -> tuple[str, ...]:
    """All that this machine has, the reference first."""
    kernel = proven_kernel()
    found = () if kernel is None else kernel.levels
    native = tuple(name for name in (NATIVE_AVX2, NATIVE_VNNI) if name.endswith(found))
    return (REFERENCE, TORCH, *native)


def operands_of(sums: tuple[int, ...] = SCALAR_TILES) -> tuple[Tensor, Tensor]:
    """Operands (1, k) of int8 whose tiles of `SCALAR_TILE` elements have these sums."""
    x, w = [], []
    for total in sums:
        x += [127, 1, *[0] * (SCALAR_TILE - 2)]
        w += [total // 127, total % 127, *[9] * (SCALAR_TILE - 2)]
    return torch.tensor([x], dtype=torch.int8), torch.tensor([w], dtype=torch.int8)


def gaussian_codes(rows: int, k: int, seed: int) -> Tensor:
    """Codes round(N(0, 30^2)), within -127 .. 127, of int8."""
    drawn = np.random.default_rng(seed).normal(0, 30, (rows, k))
    return torch.from_numpy(np.clip(np.rint(drawn), -127, 127)).to(torch.int8)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    rows, k, n = (draw(st.integers(*ends)) for ends in ((0, 14), (1, 90), (1, 40)))
    tile = draw(st.integers(1, k + 3))
    tiles = -(-k // tile)
    exponents = st.lists(st.integers(0, 12), min_size=tiles, max_size=tiles)
    dtype = draw(st.sampled_from((torch.int8, torch.uint8, torch.int16)))
    x = draw(_codes((rows, k), dtype))
    w = draw(_codes((n, k), draw(st.sampled_from((torch.int8, torch.int8, torch.int16)))))
    return Case(
        x=x,
        w=w,
        tile=tile,
        group_size=draw(st.integers(1, tiles + 2)),
        exponents=draw(exponents),
        psum_bits=draw(st.integers(4, 16)),
        zero_point=draw(st.integers(0, 255)) if dtype == torch.uint8 else 0,
    )


@st.composite
def _codes(draw: st.DrawFn, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    # codes of 9 bits, the most that a zero point makes of 8
    ends = {torch.int8: (-128, 127), torch.uint8: (0, 255), torch.int16: (-255, 255)}[dtype]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    extreme = draw(st.sampled_from((None, ends, ends[:1], ends[1:])))
    drawn = rng.integers(*ends, shape, endpoint=True)
    return torch.tensor(drawn if extreme is None else rng.choice(extreme, shape), dtype=dtype)
