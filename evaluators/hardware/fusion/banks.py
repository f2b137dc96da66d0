"""SRAM banks by capacity: energies, area and leakage, interpolated between CACTI's figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log

from dse.errors import SpecError
from evaluators.hardware.constants import Constants

_ROWS = {False: (128, 1024, 2048, 4096, 8192, 16384), True: (512, 4096)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank:
    """One bank of 32-bit words.

    Attributes:
        read, write: pJ per bit.
        area: mm2.
        leakage: mW.
    """

    size_bytes: float
    read: float
    write: float
    area: float
    leakage: float


def bank(constants: Constants, buffer: str, size_bytes: float, *, port: bool) -> Bank:
    """Return a bank, log-log between the two rows around its size, exact where it is a row.

    Args:
        buffer: what errors call it.
        port: it has one more read-write port, as banks of outputs have.

    Raises:
        SpecError: a size outside the table, beyond which banks are not extrapolated.
    """
    rows = list(_rows(constants, port))
    least, most = rows[0].size_bytes, rows[-1].size_bytes
    if not least <= size_bytes <= most:
        raise SpecError(
            f"platform 'bitfusion': {buffer} has banks of {size_bytes:g} bytes; "
            f"allowed: {least} to {most} a bank"
        )
    for row in rows:
        if row.size_bytes == size_bytes:
            return row
    above = next(i for i, row in enumerate(rows) if row.size_bytes > size_bytes)
    return _between(rows[above - 1], rows[above], size_bytes)


def _rows(constants: Constants, port: bool) -> Iterator[Bank]:
    for size in _ROWS[port]:
        name = f"bank_{size}{'_port' if port else ''}"
        yield Bank(
            size_bytes=size,
            read=constants[f"{name}_read"],
            write=constants[f"{name}_write"],
            area=constants[f"{name}_area"],
            leakage=constants[f"{name}_leakage"],
        )


def _between(low: Bank, high: Bank, size_bytes: float) -> Bank:
    share = log(size_bytes / low.size_bytes) / log(high.size_bytes / low.size_bytes)

    def mixed(start: float, end: float) -> float:
        return exp(log(start) + share * log(end / start))

    return Bank(
        size_bytes=size_bytes,
        read=mixed(low.read, high.read),
        write=mixed(low.write, high.write),
        area=mixed(low.area, high.area),
        leakage=mixed(low.leakage, high.leakage),
    )
