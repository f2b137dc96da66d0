"""Which way this processor multiplies bytes: the fastest of those that it computes exactly."""

import time
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from evaluators.arithmetic.byte_paths import PART_LIMIT, PATHS, BytePath, Full, IntMm
from evaluators.arithmetic.settings import in_full

# (m, k, n): single figures, and sizes about those of vector registers and tiles.
_SHAPES = (
    (1, 1, 1),
    (2, 1, 3),
    (3, 5, 2),
    (33, 64, 17),
    (65, 300, 40),
    (17, 1100, 33),
    (130, 96, 64),
)
_ZEROS = (0, -128, 127, 3)
_TIMED = ((1024, 96, 512), (512, 768, 128))
_LONG = (128, 512, 256)
_REPEATS = 7


@cache
def byte_path() -> BytePath:
    """Return the way that this process multiplies bytes; the first call takes a while."""
    with in_full(), torch.no_grad():
        exact = [path for path in PATHS if is_exact(path)]
        return min(exact, key=_seconds, default=Full())


@cache
def int_mm() -> IntMm | None:
    """Return `torch._int_mm` as a way to multiply, if it is exact here and faster than float32
    where sums are long; the first call takes a while."""
    path = IntMm()
    with in_full(), torch.no_grad():
        pays = is_exact(path) and _fastest(path, *_LONG) < _fastest(Full(), *_LONG)
    return path if pays else None


def is_exact(path: BytePath) -> bool:
    """Tell whether a way agrees with 64-bit integers on codes chosen to overflow or to be rounded
    by what is not exact; False too if this build of torch lacks it."""
    try:
        return all(_agrees(path, *case) for case in _cases())
    except (AttributeError, NotImplementedError, RuntimeError):
        return False


def _cases() -> Iterator[tuple[Tensor, Tensor, int]]:
    generator = torch.Generator().manual_seed(0)
    for m, k, n in _SHAPES:
        drawn = [
            torch.randint(-128, 128, size, generator=generator).to(torch.int8)
            for size in ((m, k), (n, k))
        ]
        # Products of like sign throughout, and neighbours that saturate 16 bits when added.
        extremes = [torch.where(one < 0, -128, 127).to(torch.int8) for one in drawn]
        least = [torch.full_like(one, -128) for one in drawn]
        for codes, weights in (drawn, extremes, least):
            for zero in _ZEROS:
                yield codes, weights, zero


def _agrees(path: BytePath, codes: Tensor, weights: Tensor, zero: int) -> bool:
    wanted = (codes.long() - zero) @ weights.long().t()
    packed = path.pack(weights)
    if int(wanted.abs().max()) <= path.limit:
        step = torch.linspace(0.01, 0.7, len(weights))
        for bias in (None, step - 0.3):
            scaled = wanted.float() * step
            expected = scaled if bias is None else scaled + bias
            if not torch.equal(path.scaled(codes, zero, packed, step, bias), expected):
                return False
    same = path.integers(codes, zero, packed).long() == wanted
    return bool(same[wanted.abs() <= PART_LIMIT].all())


def _seconds(path: BytePath) -> float:
    return sum(_fastest(path, *shape) for shape in _TIMED)


def _fastest(path: BytePath, m: int, k: int, n: int) -> float:
    codes, weights = torch.ones(m, k, dtype=torch.int8), torch.ones(n, k, dtype=torch.int8)
    step, packed = torch.ones(n), path.pack(weights)
    taken = []
    for _ in range(_REPEATS):
        started = time.thread_time()
        path.scaled(codes, 0, packed, step, step)
        taken.append(time.thread_time() - started)
    return min(taken)
