"""Which designs use beacons, which become one, and how far apart designs are.

MOHAQ (arXiv 2108.01192): a design is judged on the retrained weights of a beacon near it too, and
keeps the better of the two errors. Nothing here looks at weights: only at designs and costs.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dse.design import Beacon, Design, Evaluation, Value
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.metrics import METRICS
from dse.spec import Beacons


def distance(a: Design, b: Design, knob_weights: Mapping[str, float]) -> float:
    """Return the weighted sum over knobs and layers of |log2 a - log2 b|.

    With {"w_bits": 1} it is MOHAQ's: L1 over the exponents of the weight bits, blind to
    activations.

    Args:
        knob_weights: knob -> what one doubling at one layer counts; knobs of numbers alone.

    Raises:
        SpecError: a knob's values are words.
    """
    total = 0.0
    for knob, weight in knob_weights.items():
        ours, theirs = a.choices.get(knob, {}), b.choices.get(knob, {})
        for layer in dict.fromkeys((*ours, *theirs)):
            neutral = KNOBS[knob].neutral
            one, other = (_number(knob, v.get(layer, neutral)) for v in (ours, theirs))
            total += weight * abs(math.log2(one / other))
    return total


def _number(knob: str, value: Value) -> int:
    if isinstance(value, str):
        raise SpecError(f"only knobs whose values are numbers have a distance, got {knob}={value}")
    return value


@dataclass(frozen=True, slots=True)
class Near:
    """A beacon and how far it is."""

    beacon: Beacon
    distance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The rules of one job.

    Attributes:
        rules: as the spec says.
        float_error: of the unquantized network on the search split, %.
    """

    rules: Beacons
    float_error: float

    def uses_beacons(self, costs: Mapping[str, float], base_error: float) -> bool:
        """Tell whether a design is run on the beacons near it: its costs pass the gates, and its
        base error is so far above the float network's that there is something to gain."""
        return self._passes(costs) and base_error - self.float_error > self.rules.window[0]

    def eligible(self, costs: Mapping[str, float], base_error: float) -> bool:
        """Tell whether a design may become a beacon: it uses beacons, and is not hopeless. Both
        ends of the window are strict, as the gates are."""
        inside = base_error - self.float_error < self.rules.window[1]
        return inside and self.uses_beacons(costs, base_error)

    def nearest(self, design: Design, beacons: Sequence[Beacon]) -> list[Near]:
        """Return the nearest beacons that have weights, however far: at most `neighbours`, of
        equally near ones the earliest first."""
        near = [Near(b, self.between(design, b.design)) for b in beacons if b.digest is not None]
        near.sort(key=lambda one: (one.distance, one.beacon.number))
        return near[: self.rules.neighbours]

    def between(self, a: Design, b: Design) -> float:
        return distance(a, b, self.rules.knob_weights)

    def ordered(self, evaluations: Sequence[Evaluation]) -> list[Evaluation]:
        """Return eligible designs in the order in which they may become beacons: best first by
        the preferred cost; equal ones, and all without one, as they stand."""
        prefer = self.rules.prefer
        if prefer is None:
            return list(evaluations)
        return sorted(evaluations, key=lambda e: METRICS[prefer].sign * e.metrics[prefer])

    def open(self, generation: int, beacons: Sequence[Beacon]) -> bool:
        """Tell whether a generation may make beacons: fewer than `max_beacons` were made, and
        none within the last `spacing` generations."""
        spaced = all(generation - b.generation >= self.rules.spacing for b in beacons)
        return spaced and len(beacons) < self.rules.max_beacons

    def admit(self, candidates: Sequence[Design], beacons: Sequence[Beacon]) -> list[Design]:
        """Choose which eligible designs become beacons, in their order.

        One is admitted if it is farther than `distance` from every beacon that has weights and
        from all admitted before it, as long as the largest numbers, `max_beacons` and `at_once`,
        are not reached; retrainings that failed count.
        """
        standing = [beacon.design for beacon in beacons if beacon.digest is not None]
        most = min(self.rules.at_once, self.rules.max_beacons - len(beacons))
        admitted: list[Design] = []
        for design in candidates:
            far = all(self.between(design, other) > self.rules.distance for other in standing)
            if far and len(admitted) < most:
                admitted.append(design)
                standing.append(design)
        return admitted

    def _passes(self, costs: Mapping[str, float]) -> bool:
        return all(
            (gate.min is None or costs[metric] > gate.min)
            and (gate.max is None or costs[metric] < gate.max)
            for metric, gate in self.rules.gates.items()
        )
