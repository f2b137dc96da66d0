"""Three ways to fit activation ranges, on uniform designs of sru-phones.

- frozen: from the float network, once per layer and width: what the evaluator does;
- sequential: each layer behind the already quantized layers before it, anew for every design;
- fc_scaled: frozen, but the last layer clips at 0.8 max|h|, as MOHAQ's public code does.

    python -m benchmarks.calibration --home ~/.beacon-dse --json calibration.json
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch

from dse.ports import silent
from evaluators.network import Network
from evaluators.quantizers.calibration import input_ranges
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.tensor_range import FrozenRange, TensorRange
from evaluators.quantizers.uniform import UNIFORM_BITS
from evaluators.registry import Places, make_workload

_FC_SHARE = 0.8
_BITS = (16, 8, 4, 3, 2)

Figures = dict[str, float]


class Study:
    """One network with its float ranges, and the ways to put it at a uniform design.

    It keeps float ranges of its own: those of the model under study are not for others to read.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.names = network.shape.names
        self.samples = network.calibration()
        self.quantized = QuantizedModel(
            network.model(), layers=self.names, calibration=network.calibration
        )
        self.ranges = self._observed(self.names)

    def frozen(self, w_bits: int, a_bits: int) -> None:
        scheme = Scheme(weights=w_bits, inputs=a_bits)
        self.quantized.set(dict.fromkeys(self.names, scheme))

    def sequential(self, w_bits: int, a_bits: int) -> None:
        self.quantized.set(None)
        for name in self.names:
            scheme = Scheme(weights=w_bits, inputs=a_bits)
            self.quantized.put(name, scheme, self._observed((name,)))

    def fc_scaled(self, w_bits: int, a_bits: int) -> None:
        self.frozen(w_bits, a_bits)
        if a_bits in UNIFORM_BITS:
            last = self.names[-1]
            peak = float(np.median([sample.peak for sample in self.ranges[last].samples]))
            scheme = Scheme(weights=w_bits, inputs=a_bits)
            ends = {scheme.input_rule: (-_FC_SHARE * peak, _FC_SHARE * peak)}
            self.quantized.put(last, scheme, {last: FrozenRange(ends=ends, peak=peak)})

    def measure(self, put: Callable[[int, int], None], w_bits: int, a_bits: int) -> Figures:
        started = time.perf_counter()
        with torch.no_grad():
            put(w_bits, a_bits)
            fitted = time.perf_counter() - started
            model = self.quantized.model
            errors = {s: self.network.measure(model, s)["error"] for s in ("search", "test")}
        return {"w_bits": w_bits, "a_bits": a_bits, "fit_s": fitted, **errors}

    def _observed(self, names: tuple[str, ...]) -> Mapping[str, TensorRange]:
        return input_ranges(self.quantized.model, names, self.samples)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, default=Path.home() / ".beacon-dse")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = cast(Network, make_workload("sru-phones", {}, Places(home=options.home)))
    network.prepare(silent)
    study = Study(network)
    document = {
        "float": {split: network.measure(network.model(), split) for split in ("search", "test")},
        "seed": network.params["seed"],
        "torch": torch.__version__,
        "calibration_samples": len(study.samples),
        "frozen": _grid(study, study.frozen),
        "sequential": _grid(study, study.sequential),
        "fc_scaled": _grid(study, study.fc_scaled),
    }
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n")


def _grid(study: Study, put: Callable[[int, int], None]) -> list[Figures]:
    print(f"{put.__name__}: search (test) error in %, W down, A across")
    print("      " + "".join(f"{a_bits:>15}" for a_bits in _BITS))
    grid = []
    for w_bits in _BITS:
        row = [study.measure(put, w_bits, a_bits) for a_bits in _BITS]
        cells = (f"{cell['search']:.2f} ({cell['test']:.2f})" for cell in row)
        print(f"{w_bits:>6}" + "".join(f"{cell:>15}" for cell in cells), flush=True)
        grid += row
    seconds = [cell["fit_s"] for cell in grid]
    print(f"fitting a design: median {np.median(seconds):.3f} s, at most {max(seconds):.3f} s\n")
    return grid


if __name__ == "__main__":
    main()
