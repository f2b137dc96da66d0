"""Whether a run can go on from what is stored of it, and repeats it."""

from collections.abc import Iterable, Sequence

from dse.errors import DriftError, StoreError
from dse.ports import Foundation, Role

STATE_FORMAT = 1
"""Of the optimizer's state that this release writes; it reads all up to that."""


def refuse_newer_state(job_id: str, generation: int, format_version: int) -> None:
    """Raise StoreError if a newer release wrote a generation's state."""
    if format_version > STATE_FORMAT:
        raise StoreError(
            f"job {job_id}: generation {generation} has state format {format_version}, "
            f"this release reads formats up to {STATE_FORMAT}"
        )


def refuse_other_foundation(stored: Foundation, given: Foundation) -> None:
    """Raise DriftError unless `given` is what the job began on.

    Figures that were added to the float network's since then do not matter.
    """
    added = {**stored.float_metrics, **given.float_metrics}
    if stored.reference_point != given.reference_point or added != stored.float_metrics:
        raise DriftError(f"the job began on {stored}, this run would on {given}")


def refuse_other_proposals(
    role: Role,
    generation: int,
    stored: Sequence[tuple[str, str]],
    proposed: Sequence[tuple[str, str]],
) -> None:
    """Raise DriftError, naming the first difference, unless the designs agree in order.

    Args:
        stored, proposed: hash and evaluation key of each design.
    """
    place = f"{role} generation {generation}"
    for position, ((theirs, _), (ours, _)) in enumerate(zip(stored, proposed, strict=False)):
        if theirs != ours:
            raise DriftError(
                f"{place}, position {position}: design {theirs} is stored, "
                f"this run proposes {ours}; was the job begun by another release?"
            )
    if len(stored) != len(proposed):
        raise DriftError(
            f"{place}: {len(stored)} designs are stored, this run proposes {len(proposed)}; "
            "was the job begun by another release?"
        )
    if list(stored) != list(proposed):
        raise DriftError.other_network(place)


def refuse_repeats(role: Role, known: Iterable[str], hashes: Sequence[str]) -> None:
    """Raise StoreError when a design was proposed before, or twice."""
    seen = set(known)
    for design_hash in hashes:
        if design_hash in seen:
            raise StoreError(f"design {design_hash} was proposed before as {role} in this job")
        seen.add(design_hash)
