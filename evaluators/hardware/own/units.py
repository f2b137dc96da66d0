"""Units of an accelerator's constants: those it may be given in, those of the model."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from dse.errors import SpecError

_PREFIXES: Final = {"f": Fraction(1, 1000), "p": Fraction(1), "n": Fraction(1000)}
_WORDS: Final = tuple(2**power for power in range(3, 12))
_SIZES: Final = {"bit": 1, "byte": 8, "B": 8, "KiB": 8 * 2**10, "MiB": 8 * 2**20}

_TABLE: Final[Mapping[str, Mapping[str, Fraction]]] = {
    "count": {"PE": Fraction(1), "1": Fraction(1)},
    "width": {"bit": Fraction(1)},
    "size": {unit: Fraction(bits) for unit, bits in _SIZES.items()},
    "bandwidth": {f"{unit}/cycle": Fraction(bits) for unit, bits in _SIZES.items()},
    "clock": {
        "Hz": Fraction(1, 10**6),
        "kHz": Fraction(1, 1000),
        "MHz": Fraction(1),
        "GHz": Fraction(1000),
    },
    "power": {
        "nW": Fraction(1, 10**6),
        "uW": Fraction(1, 1000),
        "mW": Fraction(1),
        "W": Fraction(1000),
    },
    "area": {"um2": Fraction(1), "mm2": Fraction(10**6)},
    "energy": {
        f"{prefix}J{of}": factor for prefix, factor in _PREFIXES.items() for of in ("", "/MAC")
    },
    "energy per bit": {
        f"{prefix}J/{count if count > 1 else ''}{unit}": factor / (count * size)
        for prefix, factor in _PREFIXES.items()
        for count in (1, *_WORDS)
        for unit, size in (("bit", 1), ("byte", 8), ("B", 8))
        if count == 1 or unit == "bit"
    },
    "rate": {"MAC/cycle": Fraction(1), "cycle/MAC": Fraction(1)},
}
"""Kind of a constant -> unit -> factor to `MODEL_UNITS`."""

MODEL_UNITS: Final = {
    "count": "PE",
    "width": "bit",
    "size": "bit",
    "bandwidth": "bit/cycle",
    "clock": "MHz",
    "power": "mW",
    "area": "um2",
    "energy": "pJ",
    "energy per bit": "pJ/bit",
    "rate": "MAC/cycle",
}
"""What the model computes in."""

_SPELLINGS: Final = (
    (re.compile("bits"), "bit"),
    (re.compile("bytes|Bytes"), "byte"),
    (re.compile("PEs|unit|units"), "PE"),
    (re.compile("µ|μ"), "u"),
    (re.compile(r"\^2|²"), "2"),
    (re.compile("cycles"), "cycle"),
    (re.compile("MACs"), "MAC"),
    (re.compile(" "), ""),
)


def converted(value: Fraction, unit: str, kind: str) -> Fraction:
    """Return a constant in what the model computes in.

    Raises:
        SpecError: a unit of another kind, or none.
    """
    allowed, known = _TABLE[kind], unit
    for spelling, plain in _SPELLINGS:
        if known not in allowed:
            known = spelling.sub(plain, known)
    if known not in allowed:
        raise SpecError(f"unit must be one of {', '.join(units(kind))}, got {unit!r:.60}")
    if known == "cycle/MAC":
        return 1 / value if value else value
    return value * allowed[known]


def units(kind: str) -> list[str]:
    """Return the units that a constant of this kind may be given in, the usual spellings."""
    return [
        unit
        for unit in _TABLE[kind]
        if not re.search(r"/\d+bit|^1$|/B$", unit) or unit == "pJ/16bit"
    ]
