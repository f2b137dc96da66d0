"""What products with quantized partial sums cost beside the plain float product.

CPU time of one thread, 1024 x 768 x 768, Gaussian int8 codes (seed 1), exponents by calibration;
each cell is the median ratio to the float32 product, which runs between the repetitions. Counted
is all that a call does: native and torch take int8 codes as they are (torch casts them), and
return int32; weights are laid out before. The last column, at the largest group, adds what a float
network pays on either side: rounding float activations to int8 codes, and scaling int32 sums to
float32.

    python -m benchmarks.psum --json psum.json
    python -m benchmarks.psum --network --home ~/.beacon-dse

The second measures a whole evaluation of `minilm-similarity` (8-bit operands and sums everywhere,
tile 32) against a pass of the float network.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dse.design import Value
from dse.ports import silent
from dse.tasks import Request
from evaluators.arithmetic.psum import NATIVE_AVX2, NATIVE_VNNI, TORCH, prepare_psum
from evaluators.arithmetic.psum_maxima import PsumMaxima, calibrate_exponents
from evaluators.arithmetic.psum_native import proven_kernel
from evaluators.arithmetic.psum_plan import PsumPlan
from evaluators.registry import Places
from evaluators.tasks import make_evaluator

_M, _K, _N = 1024, 768, 768
_TILES, _GROUPS = (64, 32, 8), (1, 2, 4)
_PSUM_BITS = 8
_MOST = {NATIVE_VNNI: (1.0, 1.0, 1.7), NATIVE_AVX2: (2.5, 2.5, 3.5), TORCH: (2.2, 3.5, 6.5)}
_NAIVE = "int32 tile loop"

Row = dict[str, float | str | None]


class Operands:
    """Codes and the float product that everything is held against."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = _gaussian((_M, _K), generator)
        self.w = _gaussian((_N, _K), generator)
        self.float_x, self.float_w = self.x.float(), self.w.float()

    def base(self) -> Tensor:
        return self.float_x @ self.float_w.T

    def ratio(self, compute: Callable[[], object], repeats: int) -> float:
        """Return the median of CPU time over that of the float product run beside it."""
        compute()
        ratios = []
        for _ in range(repeats):
            before = _cpu_s(self.base)
            spent = _cpu_s(compute)
            ratios.append(2 * spent / (before + _cpu_s(self.base)))
        return float(np.median(ratios))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--network", action="store_true")
    parser.add_argument("--home", type=Path, default=Path.home() / ".beacon-dse")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.network:
        _network(options.home, max(1, options.repeats // 5))
        return
    operands = Operands()
    base_ms = float(np.median([_cpu_s(operands.base) for _ in range(options.repeats)])) * 1e3
    print(f"float32 product {_M} x {_K} x {_N}: {base_ms:.2f} ms of CPU time; torch")
    print(f"{torch.__version__}; ratios to it by tile and group size\n")
    print(f"{'':>16} {'tile':>5}" + "".join(f"{f'group {g}':>10}" for g in _GROUPS), end="")
    print(f"{'at most':>10}{'with casts':>12}")
    rows: list[Row] = []
    kernel = proven_kernel()
    levels = () if kernel is None else kernel.levels
    for name in (NATIVE_VNNI, NATIVE_AVX2, TORCH, _NAIVE):
        if name in (NATIVE_VNNI, NATIVE_AVX2) and not name.endswith(levels):
            print(f"{name:>16}: not on this machine")
            continue
        for position, tile in enumerate(_TILES):
            rows.append(_row(operands, name, tile, position, options.repeats))
            print(_line(rows[-1]), flush=True)
    if options.json is not None:
        document = {"float_ms": base_ms, "torch": torch.__version__, "rows": rows}
        options.json.write_text(json.dumps(document, indent=1) + "\n")


def _network(home: Path, repeats: int) -> None:
    evaluator = make_evaluator("minilm-similarity", {}, Places(home=home), home / "scratch")
    layers = evaluator.network.shape.names
    tiled: dict[str, int | str] = {"tile": 32, "dataflow": "ws"}
    values = {**evaluator.network.defaults, "w_bits": 8, "a_bits": 8}

    def request(**more: Value) -> Request:
        choices = {knob: dict.fromkeys(layers, v) for knob, v in {**values, **more}.items()}
        arithmetic = dict.fromkeys(layers, tiled) if more else {}
        return Request(
            key="", choices=choices, arithmetic=arithmetic, split="search", timeout_s=1e9
        )

    plain = Request(key="", choices=None, arithmetic={}, split="search", timeout_s=1e9)
    tried = {"exact sums": request()} | {
        f"8-bit sums, group {group}": request(psum_bits=8, psum_group=group)
        for group in (1, 4, "all")
    }
    print("minilm-similarity, search split: median CPU time over the float network's beside it")
    for name, one in tried.items():
        evaluator(one, silent)  # calibrates, packs
        ratios = []
        for _ in range(repeats):
            before = _cpu_s(partial(evaluator, plain, silent))
            spent = _cpu_s(partial(evaluator, one, silent))
            after = _cpu_s(partial(evaluator, plain, silent))
            ratios.append(2 * spent / (before + after))
        print(f"{name:>24} {np.median(ratios):.2f}", flush=True)


def _row(operands: Operands, name: str, tile: int, position: int, repeats: int) -> Row:
    row: Row = {"implementation": name, "tile": tile}
    maxima = calibrate_exponents(operands.x, operands.w, tile=tile)
    times = repeats if name != _NAIVE else max(1, repeats // 8)
    for group_size in _GROUPS:
        compute = _computation(operands, name, maxima, tile, group_size)
        row[f"group_{group_size}"] = operands.ratio(partial(compute, operands.x), times)
    row["at_most"] = _MOST[name][position] if name in _MOST else None
    row["with_casts"] = operands.ratio(partial(_from_floats, operands, compute), times)
    return row


def _computation(
    operands: Operands, name: str, maxima: PsumMaxima, tile: int, group_size: int
) -> Callable[[Tensor], Tensor]:
    exponents = maxima.exponents(group_size=group_size, psum_bits=_PSUM_BITS)
    prepared = prepare_psum(
        operands.w,
        tile=tile,
        group_size=group_size,
        exponents=exponents,
        psum_bits=_PSUM_BITS,
        implementation=TORCH if name == _NAIVE else name,
    )
    if name != _NAIVE:
        return prepared
    weights = operands.w.to(torch.int32)

    def naive(x: Tensor) -> Tensor:
        return _naive(x.to(torch.int32), weights, prepared.plan)

    assert torch.equal(naive(operands.x), prepared(operands.x))
    return naive


def _naive(x: Tensor, w: Tensor, plan: PsumPlan) -> Tensor:
    """Do what anyone would write first: an int32 product a tile, and five operations on it."""
    stored = torch.zeros(len(x), len(w), dtype=torch.int32)
    for step, (begin, end) in enumerate(plan.ends):
        exponent, folds = plan.exponents[step], plan.folds(step)
        total = x[:, begin:end] @ w[:, begin:end].T
        if folds:
            total = total + stored
        codes = ((total + (1 << exponent >> 1)) >> exponent).clamp(plan.low, plan.high)
        stored = (codes << exponent) + (0 if folds else stored)
    return stored


def _from_floats(operands: Operands, compute: Callable[[Tensor], Tensor]) -> Tensor:
    codes = (operands.float_x * 1.0).round_().clamp_(-128, 127).to(torch.int8)
    return compute(codes).to(torch.float32).mul_(0.01)


def _gaussian(shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    drawn = torch.randn(shape, generator=generator) * 30
    return drawn.round_().clamp_(-127, 127).to(torch.int8)


def _line(row: Row) -> str:
    figures = [row[f"group_{group_size}"] for group_size in _GROUPS]
    most = f"{row['at_most']:>10}" if row["at_most"] is not None else " " * 10
    cells = "".join(f"{figure:>10.2f}" for figure in figures)
    return f"{row['implementation']:>16} {row['tile']:>5}{cells}{most}{row['with_casts']:>12.2f}"


def _cpu_s(compute: Callable[[], object]) -> float:
    started = time.process_time()
    compute()
    return time.process_time() - started


if __name__ == "__main__":
    main()
