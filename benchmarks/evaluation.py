"""What an evaluation costs: CPU time of a whole evaluation (layers set to the design, network run
on the search split, metrics) against the float network's pass over that split, metrics too.

Everything runs on one thread, in turns: a float pass, then the design by each way, over and over.
Ratios are of neighbours; the table has their medians. A process is warm: calibration and weight
codes are there, as for all but the first design of a search. Beside it the same design as plain
fake quantization in float and, if Brevitas is installed, by it; both without their set-up.

    python -m benchmarks.evaluation --json evaluation.json
    python -m benchmarks.evaluation --workloads sru-phones --repeats 5

Brevitas pins packages of its own, so it is best installed beside: `pip install --target DIR
--no-deps brevitas dependencies==2.0.1 unfoldNd 'setuptools<81'`, and DIR in PYTHONPATH.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import cast

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.rivals import (
    Widths,
    brevitas_inference,
    brevitas_model,
    brevitas_version,
    fake_quantized,
)
from dse.design import Choices, Value
from dse.ports import silent
from dse.tasks import Request
from evaluators.accuracy import AccuracyEvaluator
from evaluators.arithmetic.probe import byte_path, int_mm
from evaluators.data.cache import Cache
from evaluators.network import Network
from evaluators.quantizers.scheme import Scheme
from evaluators.registry import Places, make_workload

WORKLOADS = (
    "sru-phones",
    "sru-digits",
    "minilm-similarity",
    "lenet-digits",
    "mlp-digits",
    "vit-digits",
    "segformer-digits",
    "efficientnet-lite0",
)
_SPLIT = "search"
_LEAST_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A design of a workload.

    Attributes:
        float_s: CPU seconds of a float pass.
        ours, fake, brevitas: CPU time against it; None where it cannot run.
        least, most: of ours, the quartiles.
    """

    workload: str
    design: str
    float_s: float
    ours: float
    least: float
    most: float
    fake: float
    brevitas: float | None


def designs(names: tuple[str, ...], seed: int) -> dict[str, Widths]:
    """Return the benchmark's designs: weight / activation bits."""
    rng = np.random.default_rng(seed)

    def drawn(choices: tuple[int, ...]) -> Widths:
        pairs = rng.choice(choices, (len(names), 2)).tolist()
        return {name: (w, a) for name, (w, a) in zip(names, pairs, strict=True)}

    uniform = {f"{w}/{a}": dict.fromkeys(names, (w, a)) for w, a in ((8, 8), (4, 4), (4, 8))}
    return {
        **uniform,
        "mix of 2 to 8": drawn((2, 3, 4, 5, 6, 7, 8)),
        "mix of 4, 8, 16": drawn((4, 8, 16)),
        "16/16": dict.fromkeys(names, (16, 16)),
    }


def measure(network: Network, home: Path, repeats: int, seed: int) -> Iterator[Row]:
    """Yield the rows of a prepared network."""
    evaluator = AccuracyEvaluator(network, cache=Cache(home / "cache"))
    in_float = network.model()
    with torch.no_grad():
        network.measure(in_float, _SPLIT)
        for name, widths in designs(network.shape.names, seed).items():
            yield _row(network, evaluator, in_float, name, widths, repeats)


def _row(
    network: Network,
    evaluator: AccuracyEvaluator,
    in_float: nn.Module,
    name: str,
    widths: Widths,
    repeats: int,
) -> Row:
    # One that the evaluator leaves between two evaluations, so that each sets all layers anew.
    other = dict.fromkeys(widths, Scheme(weights=3, inputs=3))
    request = _request(network, widths)
    evaluator.evaluate(request)
    fake = fake_quantized(network, evaluator)
    rival = None if brevitas_version() is None else brevitas_model(network, widths)

    def ours() -> None:
        evaluator.evaluate(request)

    def leave() -> None:
        evaluator.quantized(None).set(other)

    with nullcontext() if rival is None else brevitas_inference(rival):
        runs: dict[str, Callable[[], object]] = {
            "float": lambda: network.measure(in_float, _SPLIT),
            "ours": ours,
            "fake": lambda: network.measure(fake, _SPLIT),
        }
        if rival is not None:
            runs["brevitas"] = lambda: network.measure(rival, _SPLIT)
        taken = _taken(runs, leave, repeats)
    ratios = {
        way: [one / base for one, base in zip(taken[way], taken["float"], strict=True)]
        for way in runs
    }
    return Row(
        workload=network.name,
        design=name,
        float_s=median(taken["float"]),
        ours=median(ratios["ours"]),
        least=float(np.quantile(ratios["ours"], 0.25)),
        most=float(np.quantile(ratios["ours"], 0.75)),
        fake=median(ratios["fake"]),
        brevitas=median(ratios["brevitas"]) if rival is not None else None,
    )


def _taken(
    runs: dict[str, Callable[[], object]], between: Callable[[], None], repeats: int
) -> dict[str, list[float]]:
    """Return CPU seconds of each run, in turns; short ones several times over."""
    for run in runs.values():
        run()
    started = time.process_time()
    runs["float"]()
    times = max(1, round(_LEAST_SECONDS / max(time.process_time() - started, 1e-4)))
    taken: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(repeats):
        for way, run in runs.items():
            spent = 0.0
            for _ in range(times):
                between()
                started = time.process_time()
                run()
                spent += time.process_time() - started
            taken[way].append(spent / times)
    return taken


def _request(network: Network, widths: Widths) -> Request:
    choices: dict[str, dict[str, Value]] = {
        knob: dict.fromkeys(widths, value) for knob, value in network.defaults.items()
    }
    choices["w_bits"] = {name: w for name, (w, _) in widths.items()}
    choices["a_bits"] = {name: a for name, (_, a) in widths.items()}
    found: Choices = choices
    return Request(key="", choices=found, arithmetic={}, split=_SPLIT, timeout_s=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path.home() / ".beacon-dse")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=WORKLOADS)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1, help="of the mixes")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[Row] = []
    for row in _rows(options.home, options.workloads, options.repeats, options.seed):
        rows.append(row)
        print(f"{row.workload}, {row.design}: {row.ours:.2f}", file=sys.stderr, flush=True)
        # a run takes a quarter of an hour: what is there stays if it is ended
        if options.json is not None:
            told = _document(rows, seed=options.seed, repeats=options.repeats)
            options.json.write_text(json.dumps(told, indent=1) + "\n")
    Console().print(_table(rows))
    ways = ", ".join(f"{what}: {way}" for what, way in _paths().items())
    print(f"products of bytes run by {ways}")


def _paths() -> dict[str, str]:
    return {
        "matrices": byte_path().name,
        "pointwise convolutions": "float32" if int_mm() is None else "int_mm",
    }


def _document(rows: list[Row], *, seed: int, repeats: int) -> dict[str, object]:
    return {
        "benchmark": "evaluation",
        "seed": seed,
        "repeats": repeats,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "brevitas": brevitas_version(),
        "paths": _paths(),
        "rows": [asdict(row) for row in rows],
    }


def _rows(home: Path, workloads: list[str], repeats: int, seed: int) -> Iterator[Row]:
    fsdd = os.environ.get("DSE_FSDD")
    places = Places(home=home, folders={"fsdd": Path(fsdd)} if fsdd else {})
    for name in workloads:
        if name == "sru-digits" and not fsdd:
            print("sru-digits is left out: it needs DSE_FSDD")
            continue
        network = cast(Network, make_workload(name, {}, places))
        network.prepare(silent)
        yield from measure(network, home, repeats, seed)


def _table(rows: list[Row]) -> Table:
    table = Table("workload", "design", "float, s", "ours", "quartiles", "fake float", "Brevitas")
    for row in rows:
        table.add_row(
            row.workload,
            row.design,
            f"{row.float_s:.3f}",
            f"{row.ours:.2f}",
            f"{row.least:.2f} .. {row.most:.2f}",
            f"{row.fake:.2f}",
            "-" if row.brevitas is None else f"{row.brevitas:.2f}",
        )
    return table


if __name__ == "__main__":
    main()
