"""Judging designs on beacon weights too, and making beacons: the end of a generation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

from dse.beacons import Near, Policy
from dse.design import Beacon, BeaconReading, Design, Evaluation
from dse.measuring import Measuring, measured
from dse.ports import RetrainingKey, RunStore, Vault
from dse.problem import Metrics, Problem
from dse.running import Results, Runner
from dse.tasks import Request, Retraining, Task


@dataclass(frozen=True, slots=True)
class Judged:
    """A generation as beacons see it.

    Attributes:
        evaluations: of the generation, each with the better of its errors.
        revised: earlier designs that a new beacon judges, if it changes what is known of them.
        made: the generation's new beacons, those that failed too.
    """

    evaluations: list[Evaluation]
    revised: list[Evaluation]
    made: list[Beacon]


@dataclass(frozen=True, slots=True)
class _Look:
    """A design that is to be run on a beacon near it."""

    evaluation: Evaluation
    near: Near
    request: Request


@final
class Judging:
    """The beacons of one job.

    Everything is asked for in the order of designs and by the rules of `Policy` alone: what
    becomes a beacon never depends on which process was faster.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        policy: Policy,
        float_metrics: Metrics,
        measuring: Measuring,
        runner: Runner,
        store: RunStore,
        vault: Vault,
        key: RetrainingKey,
    ) -> None:
        self._problem = problem
        self._policy = policy
        self._float_metrics = float_metrics
        self._measuring = measuring
        self._runner = runner
        self._store = store
        self._vault = vault
        self._key = key
        self._beacons = store.beacons()

    def on_their_weights(
        self, evaluations: Iterable[Evaluation]
    ) -> list[tuple[Design, str | None]]:
        """Return measured designs with the weights (SHA-256) that their metrics came from, None
        for the base's. Designs whose weights are lost are left out, and an event says so."""
        self._drop_lost()
        found: list[tuple[Design, str | None]] = []
        for evaluation in evaluations:
            reading = evaluation.beacon
            if reading is None or evaluation.origin != _origin(reading.number):
                found.append((evaluation.design, None))
                continue
            beacon = self._beacons[reading.number - 1]
            if beacon.digest is None:
                reason = beacon.reason or "its weights are lost"
                self._note_unavailable(evaluation.design, reading.number, reason)
            else:
                found.append((evaluation.design, beacon.digest))
        return found

    def judge(
        self, generation: int, evaluations: Sequence[Evaluation], earlier: Iterable[str]
    ) -> Judged:
        """Run a generation's designs on the beacons near them, and make the beacons that it
        calls for.

        Args:
            evaluations: the generation's, on base weights, in order.
            earlier: hashes of designs of earlier generations that still matter.
        """
        self._drop_lost()
        users = [e for e in evaluations if self._uses(e)]
        looks = [
            self._look(e, near)
            for e in users
            for near in self._policy.nearest(e.design, self._beacons)
        ]
        tasks = [self._retraining(design) for design in self._admitted(generation, users)]
        results = self._run(tasks, looks)
        made = list(self._made(generation, tasks, results))
        known = _Known(evaluations)
        self._settle(known, looks, results)
        if any(beacon.digest is not None for beacon in made):
            own = (beacon.design.hash for beacon in made)
            hashes = [h for h in dict.fromkeys((*earlier, *own)) if h not in known.now]
            others = [e for e in self._store.evaluations(hashes) if self._uses(e)]
            known.add(others)
            standing = [*self._beacons, *made]
            looks = [
                self._look(known.now[e.design.hash], near)
                for e in [*users, *others]
                for near in self._policy.nearest(e.design, standing)
                if near.beacon.generation == generation
            ]
            self._settle(known, looks, self._run([], looks))
        self._beacons += made
        return Judged(
            evaluations=[known.now[e.design.hash] for e in evaluations],
            revised=[e for e in known.changed() if e.generation != generation],
            made=made,
        )

    def _admitted(self, generation: int, users: Sequence[Evaluation]) -> list[Design]:
        """Return the designs that this generation makes beacons of: of its own, and of those
        that had to wait since the last that made some."""
        if not self._policy.open(generation, self._beacons):
            return []
        since = max((b.generation + 1 for b in self._beacons), default=0)
        waiting = [e for e in self._store.evaluations_since(since) if e.generation < generation]
        users = [*users, *(e for e in waiting if self._uses(e))]
        eligible = [e for e in users if self._policy.eligible(e.metrics, _base_error(e))]
        candidates = [e.design for e in self._policy.ordered(eligible)]
        return self._policy.admit(candidates, self._beacons)

    def _drop_lost(self) -> None:
        for i, beacon in enumerate(self._beacons):
            if beacon.digest is not None and not self._vault.intact(beacon.digest):
                reason = f"the weights {beacon.digest} are missing or altered"
                self._store.lose_beacon(beacon.number, reason)
                self._beacons[i] = replace(beacon, digest=None, reason=reason)

    def _uses(self, evaluation: Evaluation) -> bool:
        return evaluation.measured and self._policy.uses_beacons(
            evaluation.metrics, _base_error(evaluation)
        )

    def _look(self, evaluation: Evaluation, near: Near) -> _Look:
        request = self._measuring.request(evaluation.design, "search", near.beacon.digest)
        return _Look(evaluation, near, request)

    def _retraining(self, design: Design) -> Retraining:
        rules, seed = self._problem.spec.beacons, self._problem.spec.search.seed
        arithmetic = self._problem.arithmetic(design)
        return Retraining(
            key=self._key(
                design.choices,
                arithmetic,
                steps=rules.steps,
                seed=seed,
                learn_exponents=rules.learn_exponents,
            ),
            choices=design.choices,
            arithmetic=arithmetic,
            steps=rules.steps,
            seed=seed,
            timeout_s=rules.timeout_s,
            learn_exponents=rules.learn_exponents,
        )

    def _run(self, retrainings: Sequence[Retraining], looks: Sequence[_Look]) -> Results:
        # the long tasks first, so that the short ones fill what they leave free
        tasks: list[Task] = [*retrainings, *(look.request for look in looks)]
        return self._runner.run(tasks)

    def _made(
        self, generation: int, tasks: Sequence[Retraining], results: Results
    ) -> Iterator[Beacon]:
        for number, task in enumerate(tasks, start=len(self._beacons) + 1):
            retrained = results.retrained.get(task.key)
            yield Beacon(
                number=number,
                design=Design(task.choices),
                generation=generation,
                key=task.key,
                digest=None if retrained is None else retrained.digest,
                reason=results.reasons.get(task.key),
            )

    def _settle(self, known: "_Known", looks: Sequence[_Look], results: Results) -> None:
        """Let each design keep the best of what it stood at and of its readings."""
        for look in looks:
            stood = known.now[look.evaluation.design.hash]
            found = results.metrics.get(look.request.key)
            if found is None:
                number, reason = look.near.beacon.number, results.reasons[look.request.key]
                self._note_unavailable(stood.design, number, reason)
                continue
            reading = BeaconReading(
                number=look.near.beacon.number,
                distance=look.near.distance,
                error=found["error"],
            )
            known.now[stood.design.hash] = self._better(stood, reading, found)

    def _better(
        self, stood: Evaluation, reading: BeaconReading, found: Mapping[str, float]
    ) -> Evaluation:
        if stood.beacon is None or reading.error < stood.beacon.error:
            seen = replace(stood, beacon=reading)
        else:
            seen = stood
        if found["error"] >= stood.metrics["error"]:
            return seen
        origin = _origin(reading.number)
        return measured(self._problem, seen, found, self._float_metrics, origin=origin)

    def _note_unavailable(self, design: Design, number: int, reason: str) -> None:
        told = {"design": design.hash, "beacon": number, "reason": reason}
        self._store.note("beacon.unavailable", told)


class _Known:
    """What stands of designs, by hash, and which of them have moved."""

    def __init__(self, evaluations: Iterable[Evaluation]) -> None:
        self._before: dict[str, Evaluation] = {}
        self.now: dict[str, Evaluation] = {}
        self.add(evaluations)

    def add(self, evaluations: Iterable[Evaluation]) -> None:
        for evaluation in evaluations:
            self._before[evaluation.design.hash] = evaluation
            self.now[evaluation.design.hash] = evaluation

    def changed(self) -> list[Evaluation]:
        return [e for design_hash, e in self.now.items() if e != self._before[design_hash]]


def _origin(number: int) -> str:
    return f"beacon {number}"


def _base_error(evaluation: Evaluation) -> float:
    if evaluation.base_error is None:
        raise ValueError(f"design {evaluation.design.hash} has no error on the base weights")
    return evaluation.base_error
