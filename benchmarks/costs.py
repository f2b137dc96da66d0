"""How fast the cost models are: whole populations of random designs, every metric, 50 layers.

Designs are given as choice indices. CPU time of one process, the median of several runs and the
best of them; "first" is the first design of a network on a platform, whose tables are built then.
The rivals in the same run: `psum-accelerator` computed directly, choice by choice, without tables,
and ZigZag, layer by layer.

    python -m benchmarks.costs --seed 1 --json costs.json
"""

import argparse
import json
import platform as host
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from dse.canonical import alive_codes
from dse.design import Layer, NetworkShape
from dse.errors import DseError
from dse.knobs import BITS, KNOBS
from dse.ports import FloatArray, IntArray, Platform
from evaluators.hardware.accesses import Dataflow, partial_sums
from evaluators.hardware.layer_costs import Choice, layer_costs
from evaluators.hardware.psum_accelerator import PsumAccelerator
from evaluators.hardware.zigzag_process import LayerRequest, ZigzagProcess
from evaluators.registry import make_platform

LAYERS = 50
POPULATIONS = (100, 1_000, 10_000, 50_000)
RUNS = 7
WANTED = {"silago": 1e6, "bitfusion": 1e6, "psum-accelerator": 5e5}

Row = dict[str, float | str]
Choices = dict[str, IntArray]


def network(rng: np.random.Generator) -> NetworkShape:
    """Return 50 layers of random sizes, each read by the next."""
    sizes = [[int(size) for size in rng.integers(16, 2048, 3)] for _ in range(LAYERS)]
    layers = [Layer(name=f"l{i}", m=m, k=k, n=n) for i, (m, k, n) in enumerate(sizes)]
    joined = [replace(layer, consumers=(f"l{i + 1}",)) for i, layer in enumerate(layers[:-1])]
    return NetworkShape(layers=(*joined, layers[-1]), vector_parameters=10_000)


def population(platform: Platform, size: int, rng: np.random.Generator) -> Choices:
    choices: Choices = {}
    for knob, values in platform.knobs.items():
        taken = [KNOBS[knob].choices.index(value) for value in values]
        columns = 1 if KNOBS[knob].scope == "design" else LAYERS
        choices[knob] = np.repeat(rng.choice(taken, (size, columns)), LAYERS // columns, axis=1)
    for first, *others in platform.tied:
        choices |= {other: choices[first] for other in others}
    return choices


def seconds(work: Callable[[], object]) -> list[float]:
    found = []
    for _ in range(RUNS):
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return found


def tables(name: str, shape: NetworkShape, rng: np.random.Generator) -> list[Row]:
    platform = make_platform(name, {})
    one = population(platform, 1, rng)
    started = time.process_time()
    platform.cost(shape, one)
    first = time.process_time() - started
    rows: list[Row] = []
    for size in POPULATIONS:
        choices = population(platform, size, rng)
        taken = seconds(lambda choices=choices: platform.cost(shape, choices))  # type: ignore[misc]
        rows.append(_row(name, size, taken, first_ms=1e3 * first))
    return rows


def directly(shape: NetworkShape, rng: np.random.Generator) -> list[Row]:
    """Time the same model without tables, and refuse to if it gives other figures."""
    platform = cast(PsumAccelerator, make_platform("psum-accelerator", {}))
    rows: list[Row] = []
    for size in POPULATIONS[:-1]:
        choices = population(platform, size, rng)
        found = _direct(platform, shape, choices)
        if (found / 1e6 != platform.cost(shape, choices)["energy_uj"]).any():
            raise SystemExit("tables and direct costs differ")
        taken = seconds(lambda choices=choices: _direct(platform, shape, choices))  # type: ignore[misc]
        rows.append(_row("psum-accelerator, no tables", size, taken))
    return rows


def _direct(platform: PsumAccelerator, shape: NetworkShape, choices: Choices) -> FloatArray:
    widths, sums = np.array(BITS), np.array(KNOBS["psum_bits"].choices, dtype=np.int64)
    total = np.zeros(len(choices["w_bits"]))
    for place, flow in enumerate(KNOBS["dataflow"].choices):
        mine = np.flatnonzero(choices["dataflow"][:, 0] == place)
        at = {knob: found[mine] for knob, found in choices.items()}
        for i, layer in enumerate(shape.layers):
            n_sums = partial_sums(layer, platform.machine.array.pci)
            alive = np.array([alive_codes(g, n_sums) for g in KNOBS["psum_group"].choices])
            choice = Choice(
                w=widths[at["w_bits"][:, i]],
                a=widths[at["a_bits"][:, i]],
                p=sums[at["psum_bits"][:, i]],
                alive=alive[at["psum_group"][:, i]],
                o=widths[at["a_bits"][:, min(i + 1, LAYERS - 1)]],
            )
            costs = layer_costs(platform.machine, layer, cast(Dataflow, flow), choice)
            total[mine] += costs.total_pj
            _ = costs.latency
    return total


def zigzag_layers(shape: NetworkShape, n_layers: int) -> Row:
    """Time ZigZag on a few of the layers, wall clock: it works in a process of its own."""
    process = ZigzagProcess()
    taken = []
    try:
        for layer in shape.layers[: n_layers + 1]:
            asked = LayerRequest(
                dataflow="ws",
                m=layer.m,
                k=layer.k,
                n=layer.n,
                rows=8,
                columns=8,
                w=8,
                a=8,
                p=32,
                o=8,
                input_bits=2**21,
                weight_bits=2**20,
                output_bits=2**21,
                sram_width=2048,
                dram_width=192,
            )
            started = time.perf_counter()
            process.ask(asked, timeout_s=120)
            taken.append(time.perf_counter() - started)
    finally:
        process.close()
    # the first layer waits for the import
    return {"model": "zigzag, a layer (wall)", "layers": n_layers, "seconds": median(taken[1:])}


def bitfusion_layers(shape: NetworkShape, n_layers: int) -> Row | None:
    """Time cycle-level BitFusion on a few of the layers, if this installation has it."""
    try:
        platform = make_platform("bitfusion", {"mode": "cycles"})
    except DseError:
        return None
    taken = []
    for layer in shape.layers[:n_layers]:
        alone = NetworkShape(layers=(replace(layer, consumers=()),))
        eight = {knob: np.full((1, 1), BITS.index(8)) for knob in ("w_bits", "a_bits")}
        started = time.process_time()
        platform.cost(alone, eight)
        taken.append(time.process_time() - started)
    return {"model": "bitfusion, cycles, a layer", "layers": n_layers, "seconds": median(taken)}


def median(values: list[float]) -> float:
    return statistics.median(values)


def _row(model: str, size: int, taken: list[float], **more: float) -> Row:
    told: Row = {"model": model, "designs": size, "per_second": size / median(taken)}
    return {**told, "best_per_second": size / min(taken), **more}


def _print(rows: list[Row], layers: list[Row]) -> None:
    print("| model | designs | designs/s, median | best | wanted | first design, ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        wanted = WANTED.get(str(row["model"]))
        cells = [f"{float(row[key]):.2e}" for key in ("per_second", "best_per_second")]
        first = f"{float(row['first_ms']):.1f}" if "first_ms" in row else "-"
        told = f"{wanted:.0e}" if wanted else "-"
        print(f"| {row['model']} | {row['designs']} | {' | '.join(cells)} | {told} | {first} |")
    print("\n| model | layers timed | ms a layer, median |\n| --- | ---: | ---: |")
    for row in layers:
        print(f"| {row['model']} | {row['layers']} | {1e3 * float(row['seconds']):.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="measure the speed of the cost models")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--zigzag-layers", type=int, default=10, help="0: leave ZigZag out")
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    rng = np.random.default_rng(told.seed)
    shape = network(rng)
    rows = [row for name in WANTED for row in tables(name, shape, rng)]
    rows += directly(shape, rng)
    layers = [zigzag_layers(shape, told.zigzag_layers)] if told.zigzag_layers else []
    cycles = bitfusion_layers(shape, 5)
    layers += [cycles] if cycles is not None else []
    print(f"seed {told.seed}, {LAYERS} layers, {host.processor() or host.machine()}, one thread")
    _print(rows, layers)
    if told.json:
        told.json.write_text(json.dumps({"seed": told.seed, "rows": rows, "layers": layers}))


if __name__ == "__main__":
    main()
