"""Memory that evaluating a network of ten million parameters takes beyond running it in float.

`large-cnn` below is a plug-in: eight convolutions, 10.4 million parameters, 32 pictures of
112 x 112. Each design is evaluated by `dse evaluate` in processes of its own; the figure is the
largest process's peak of resident memory, beside that of a process that runs the float network.

    python -m benchmarks.large_network --json large_network.json
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import nn

from evaluators.registry import workload
from evaluators.workloads.definition import Definition

SEED: Final = 0
_SIDE, _PICTURES, _CLASSES = 112, 32, 10
_WIDTHS = (3, 64, 128, 256, 256, 512, 512, 512, 768)
DESIGNS: Final[Mapping[str, Sequence[str]]] = {
    "8/8": ("w_bits=8", "a_bits=8"),
    "4/4": ("w_bits=4", "a_bits=4"),
    "8/8 by channel, zero points": (
        *("w_bits=8", "a_bits=8", "w_granularity=channel", "a_symmetry=asymmetric"),
    ),
    "16/16": ("w_bits=16", "a_bits=16"),
}


@workload("large-cnn", summary="eight convolutions, 10.4 million parameters, random weights")
def large_cnn() -> Definition:
    generator = torch.Generator().manual_seed(SEED)
    pictures = torch.randn(_PICTURES, _WIDTHS[0], _SIDE, _SIDE, generator=generator)
    labels = torch.randint(_CLASSES, (_PICTURES,), generator=generator)
    return Definition(
        model=_network,
        calibration=[pictures[:8]],
        search=[(pictures, labels)],
        test=[(pictures, labels)],
        metric="top1-error",
    )


def _network() -> nn.Module:
    layers: list[nn.Module] = []
    for number, (inputs, outputs) in enumerate(zip(_WIDTHS, _WIDTHS[1:], strict=False)):
        step = 2 if number % 2 else 1
        layers += [nn.Conv2d(inputs, outputs, 3, stride=step, padding=1), nn.ReLU()]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_WIDTHS[-1], _CLASSES)
    )


def parameters() -> int:
    """Return how many parameters the network has."""
    return sum(parameter.numel() for parameter in _network().parameters())


def run_in_float() -> None:
    """Run the float network on its pictures, as a process of its own is asked to."""
    torch.set_num_threads(1)
    definition = large_cnn()
    model = definition.model().eval()
    with torch.no_grad():
        for pictures, _ in definition.search:
            model(pictures)


def peak_mib(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """Return the largest resident memory of a command and of what it started, MiB.

    Raises:
        RuntimeError: the command failed.
    """
    started = subprocess.Popen(command, env=dict(environment), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {started.returncode}")
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write every figure")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "DSE_HOME": home, "OMP_NUM_THREADS": "1"}
        own = "from benchmarks.large_network import run_in_float; run_in_float()"
        found = {"float": peak_mib([sys.executable, "-c", own], environment)}
        for name, assignments in DESIGNS.items():
            sets = [part for one in assignments for part in ("--set", one)]
            place = ("--workload", "large-cnn", "--platform", "bitfusion", "--plugin", __file__)
            command = [sys.executable, "-m", "api.cli", "evaluate", *place, *sets]
            found[name] = peak_mib(command, environment)
    print(f"{parameters() / 1e6:.1f} million parameters, torch {torch.__version__}\n")
    print("| design | peak, MiB | beyond float, MiB |\n|---|---:|---:|")
    for name, peak in found.items():
        print(f"| {name} | {peak:.0f} | {peak - found['float']:.0f} |")
    if given.json:
        given.json.write_text(json.dumps({"parameters": parameters(), "peak_mib": found}))


if __name__ == "__main__":
    main()
