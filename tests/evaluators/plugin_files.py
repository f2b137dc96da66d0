"""Plug-in files for tests: a good one, and one for each way to be bad."""

from pathlib import Path
from textwrap import dedent

GOOD = """
import torch
from torch import nn

from evaluators.registry import workload
from evaluators.workloads.definition import Definition

DRAWN = torch.Generator().manual_seed(1)
INPUTS = torch.randn(50, 6, generator=DRAWN)
LABELS = INPUTS[:, :3].argmax(1)
PAIRS = list(zip(INPUTS.split(16), LABELS.split(16)))


def network(hidden=8):
    return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 3))


def definition(**changed):
    parts = {
        "model": network,
        "calibration": [inputs for inputs, _ in PAIRS],
        "search": PAIRS,
        "test": PAIRS[1:],
        "metric": "top1-error",
    }
    return Definition(**{**parts, **changed})


@workload("good")
def good():
    \"\"\"Works as it should.\"\"\"
    return definition()
"""

TUNABLE = """
@workload("tunable", params={"hidden": 8, "rate": 0.5})
def tunable(params):
    return definition(
        model=lambda: network(params["hidden"]), fit=fit, train=PAIRS, defaults={"w_bits": 8}
    )


def fit(model, progress):
    (FOLDER / "fitted").open("a").write("once\\n")
    print("a word on standard output", flush=True)
    adam = torch.optim.Adam(model.parameters(), lr=0.03)
    for step in range(40):
        loss = nn.functional.cross_entropy(model(INPUTS), LABELS)
        adam.zero_grad()
        loss.backward()
        adam.step()
        progress("fitting", step + 1, 40)
"""

BAD = {
    "raises": "raise ValueError('eaten by the dog')",
    "hangs": "import time\ntime.sleep(600)",
    "leaks": "held = bytearray(700 * 2**20)\nheld[::4096] = b'x' * len(held[::4096])\n"
    "import time\ntime.sleep(600)",
    "dies": "import os\nos.kill(os.getpid(), 9)",
    "exits": "import sys\nsys.exit(3)",
    "silent": "x = 1",
    "twice": "workload('good')(good)",
    "taken": "workload('sru-phones')(good)",
}
"""What a file does when it is imported."""


def write_plugin(path: Path, *parts: str) -> Path:
    """Write a file of `GOOD` and other parts; FOLDER is the folder it lies in."""
    folder = f"from pathlib import Path\n\nFOLDER = Path({str(path.parent)!r})\n"
    path.write_text(folder + "\n".join(dedent(part) for part in parts), encoding="utf-8")
    return path


def workload_named(name: str, **changed: str) -> str:
    """Return code that registers `definition(**changed)`, changes being expressions."""
    arguments = ", ".join(f"{part}={code}" for part, code in changed.items())
    return f"@workload({name!r})\ndef made():\n    return definition({arguments})\n"
