from fractions import Fraction

import pytest

from dse.errors import SpecError
from evaluators.hardware.own.units import converted, units


@pytest.mark.parametrize(
    ("value", "unit", "kind", "figure"),
    [
        (8, "pJ/byte", "energy per bit", 1),
        (8, "pJ/B", "energy per bit", 1),
        (1, "fJ/bit", "energy per bit", Fraction(1, 1000)),
        (2048, "pJ/2048bit", "energy per bit", 1),
        (2, "nJ/16 bits", "energy per bit", 125),
        (3, "pJ", "energy", 3),
        (3, "fJ/MAC", "energy", Fraction(3, 1000)),
        (1, "KiB", "size", 8192),
        (2, "MiB", "size", 2**24),
        (16, "bits", "size", 16),
        (24, "B/cycle", "bandwidth", 192),
        (24, "bytes/cycle", "bandwidth", 192),
        (1, "mm^2", "area", 10**6),
        (1, "µm²", "area", 1),
        (1.5, "GHz", "clock", 1500),
        (250, "uW", "power", Fraction(1, 4)),
        (4, "cycles/MAC", "rate", Fraction(1, 4)),
        (4, "MAC/cycle", "rate", 4),
        (12, "PEs", "count", 12),
        (32, "bits", "width", 32),
    ],
)
def test_units_are_converted_exactly(value: float, unit: str, kind: str, figure: Fraction) -> None:
    assert converted(Fraction(str(value)), unit, kind) == figure


@pytest.mark.parametrize(
    ("unit", "kind", "allowed"),
    [
        ("pJ", "energy per bit", "pJ/bit, pJ/byte"),
        ("pJ/bit", "energy", "fJ, fJ/MAC, pJ, pJ/MAC"),
        ("KB", "size", "bit, byte, B, KiB, MiB"),
        ("GB/s", "bandwidth", "bit/cycle, byte/cycle"),
        ("mm", "area", "um2, mm2"),
        ("", "clock", "Hz, kHz, MHz, GHz"),
    ],
)
def test_units_of_another_kind_are_refused_with_those_allowed(
    unit: str, kind: str, allowed: str
) -> None:
    with pytest.raises(SpecError, match=f"unit must be one of .*, got {unit!r}") as told:
        converted(Fraction(1), unit, kind)

    assert allowed in str(told.value)
    assert all(f"{each}" in str(told.value) for each in units(kind))
