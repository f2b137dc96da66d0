"""What a cost model counts: named answers to questions that papers and tools answer apart."""

from dataclasses import dataclass
from typing import Final, Literal, final

from evaluators.hardware.accesses import Count


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Rules of counting.

    Attributes:
        count: how partial sums are counted.
        unique_inputs: under is, overlapping windows are read from the buffer once.
        fills: what DRAM brings is written into the buffers, what it takes is read from them.
        double_buffered: half of an operand's buffer holds what is worked on; the buffer of
            partial sums is updated in place and never halved.
        os_refetch: under os, "both": each operand that does not fit is fetched again for each
            pass over the other; "cheaper": the order of loops is the one that fetches less.
        spill: partial sums that do not fit: "all" of their traffic goes on to DRAM, or the
            "fraction" of them that has no room.
        accumulation: stored partial sums are added outside the array, which costs energy; the
            energy of a MAC holds the additions inside.
        sized_buffers: reading a buffer costs more the larger it is; otherwise what the constants
            say of the buffers of their source.
        systolic: cycles of a systolic array with its fills and drains, in place of one that does
            pci * pco * po products in each.
    """

    count: Count
    unique_inputs: bool
    fills: bool
    double_buffered: bool
    os_refetch: Literal["both", "cheaper"]
    spill: Literal["all", "fraction"]
    accumulation: bool
    sized_buffers: bool
    systolic: bool


PROFILES: Final[dict[str, Profile]] = {
    "apsq": Profile(
        count="tight",
        unique_inputs=True,
        fills=False,
        double_buffered=False,
        os_refetch="both",
        spill="all",
        accumulation=False,
        sized_buffers=False,
        systolic=False,
    ),
    "complete": Profile(
        count="tight",
        unique_inputs=False,
        fills=True,
        double_buffered=True,
        os_refetch="cheaper",
        spill="fraction",
        accumulation=True,
        sized_buffers=True,
        systolic=True,
    ),
    "zigzag": Profile(
        count="zigzag",
        unique_inputs=False,
        fills=True,
        double_buffered=False,
        os_refetch="cheaper",
        spill="all",
        accumulation=False,
        sized_buffers=True,
        systolic=False,
    ),
}
