"""Small platform definitions for tests."""

from pathlib import Path
from typing import Any

import yaml

from evaluators.hardware.own.definition import Definition, definition
from evaluators.hardware.own.platform import OwnPlatform, own_platform

EXAMPLES = Path(__file__).parents[4] / "examples/platforms"


def constant(value: object, unit: str) -> dict[str, object]:
    return {"value": value, "unit": unit, "source": "a test"}


def buffer(size: int = 1000, unit: str = "KiB", **changes: object) -> dict[str, object]:
    figures = {
        "size": constant(size, unit),
        "read": constant(1, "pJ/bit"),
        "write": constant(2, "pJ/bit"),
        "bandwidth": constant(1000, "bit/cycle"),
    }
    return {**figures, **changes}


def line(w: int, a: int, rate: float = 1, unit: str = "MAC/cycle") -> dict[str, object]:
    return {
        "w_bits": w,
        "a_bits": a,
        "rate": constant(rate, unit),
        "energy": constant(0.5 * w * a, "pJ"),
    }


def data(**changes: object) -> dict[str, Any]:
    """What a file says: 8 x 8 multipliers of 16 x 16 bits; `buffers__sums__size` goes deeper."""
    said: dict[str, Any] = {
        "name": "mine",
        "dataflow": "ws",
        "sums": constant(32, "bit"),
        "array": {"rows": constant(8, "PE"), "columns": constant(8, "PE")},
        "throughput": [line(16, 16)],
        "buffers": {name: buffer() for name in ("weights", "activations", "sums")},
        "dram": {
            "read": constant(10, "pJ/bit"),
            "write": constant(20, "pJ/bit"),
            "bandwidth": constant(64, "bit/cycle"),
        },
    }
    for place, value in changes.items():
        *path, last = place.split("__")
        at = said
        for key in path:
            at = at[key]
        if value is None:
            del at[last]
        else:
            at[last] = value
    return said


def defined(**changes: object) -> Definition:
    return definition(data(**changes), origin="mine.yaml")


def made(**changes: object) -> OwnPlatform:
    return own_platform(defined(**changes))


def written(folder: Path, file: str = "mine.yaml", /, **changes: object) -> Path:
    path = folder / file
    path.write_text(yaml.safe_dump(data(**changes)), encoding="utf-8")
    return path
