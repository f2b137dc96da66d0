"""A store of a run, in memory."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from dse.design import (
    Beacon,
    Choices,
    Evaluation,
)
from dse.errors import DriftError
from dse.ports import Foundation, GenerationRecord, IntArray, Proposal, Role
from dse.tasks import Outcome, Retrained, Retraining


class MemoryStore:
    """A RunStore in dictionaries. Give it to a second search to resume the first."""

    def __init__(self) -> None:
        self.laid: Foundation | None = None
        self.extra: dict[str, float] = {}
        self.records: list[GenerationRecord] = []
        self.proposals: dict[tuple[Role, int], list[Proposal]] = {}
        self.concluded: dict[tuple[Role, int], list[Evaluation]] = {}
        self.measured: dict[str, dict[str, float]] = {}
        self.refused: dict[str, str] = {}
        self.test: dict[tuple[Role, str], Mapping[str, float]] = {}
        self.notes: list[str] = []
        self.retrained: dict[str, Retrained] = {}
        self.made: list[Beacon] = []
        self.stop = False
        self.in_flight: dict[str, bool] = {}
        self.deaths: dict[str, int] = {}

    def foundation(self) -> Foundation | None:
        return self.laid

    def lay_foundation(self, foundation: Foundation) -> None:
        self.laid = foundation

    def add_float_metrics(self, metrics: Mapping[str, float]) -> None:
        self.extra |= metrics

    def last_generation(self) -> GenerationRecord | None:
        return self.records[-1] if self.records else None

    def states(self) -> list[Mapping[str, object]]:
        return [record.state for record in self.records]

    def genomes(self) -> IntArray:
        rows = [
            p.genome
            for g in range(len(self.records))
            for p in self.proposals[Role.SEARCH, g]
            if p.genome is not None
        ]
        return np.asarray(rows, dtype=np.int64)

    def front(self) -> list[Evaluation]:
        return self.evaluations(self.records[-1].front) if self.records else []

    def evaluations(self, hashes: Iterable[str]) -> list[Evaluation]:
        known = {
            e.design.hash: e
            for (role, generation), rows in self.concluded.items()
            if role is Role.SEARCH and generation < len(self.records)
            for e in rows
        }
        return [known[design_hash] for design_hash in hashes if design_hash in known]

    def evaluations_since(self, generation: int) -> list[Evaluation]:
        return [
            e
            for number in range(generation, len(self.records))
            for e in self.concluded[Role.SEARCH, number]
        ]

    def propose(self, role: Role, generation: int, proposals: Sequence[Proposal]) -> None:
        stored = self.proposals.setdefault((role, generation), list(proposals))
        if [p.design.hash for p in stored] != [p.design.hash for p in proposals]:
            raise DriftError("other designs are stored")
        if [p.key for p in stored] != [p.key for p in proposals]:
            raise DriftError.other_network(f"{role} generation {generation}")

    def recall(self, keys: Iterable[str]) -> dict[str, dict[str, float]]:
        return {key: self.measured[key] for key in keys if key in self.measured}

    def verdicts(self, keys: Iterable[str]) -> dict[str, str]:
        return {key: self.refused[key] for key in keys if key in self.refused}

    def dispatched(self, keys: Iterable[str], *, alone: bool = False) -> None:
        self.in_flight |= dict.fromkeys(keys, alone)

    def suspects(self) -> set[str]:
        """Take every call for that of a driver whose predecessor died."""
        for key, alone in list(self.in_flight.items()):
            self.in_flight[key] = False
            self.died(key, alone=alone)
        return set(self.in_flight)

    def died(self, key: str, *, alone: bool) -> int:
        self.deaths[key] = self.deaths.get(key, 0) + alone
        if self.deaths[key] >= 3:
            self.refused[key] = "POISONED: its process died 3 times while it ran alone"
            self.in_flight.pop(key, None)
        return self.deaths[key]

    def record(self, outcome: Outcome, *, split: str, choices: Choices | None) -> None:
        self.in_flight.pop(outcome.key, None)
        self.deaths.pop(outcome.key, None)
        if outcome.metrics is None:
            self.refused[outcome.key] = f"{outcome.status}: {outcome.reason}"
            return
        assert outcome.key not in self.measured, "no network is run twice"
        self.measured[outcome.key] = dict(outcome.metrics)

    def conclude(self, role: Role, evaluations: Sequence[Evaluation]) -> None:
        self.concluded[role, evaluations[0].generation] = list(evaluations)

    def recall_retrainings(self, keys: Iterable[str]) -> dict[str, Retrained]:
        return {key: self.retrained[key] for key in keys if key in self.retrained}

    def record_retraining(self, outcome: Outcome, task: Retraining) -> None:
        self.in_flight.pop(outcome.key, None)
        self.deaths.pop(outcome.key, None)
        if outcome.retrained is None:
            self.refused[outcome.key] = f"{outcome.status}: {outcome.reason}"
        else:
            self.retrained[outcome.key] = outcome.retrained

    def beacons(self) -> list[Beacon]:
        return list(self.made)

    def lose_beacon(self, number: int, reason: str) -> None:
        self.made[number - 1] = replace(self.made[number - 1], digest=None, reason=reason)
        self.note("beacon.lost", {"number": number, "reason": reason})

    def finish_generation(
        self,
        record: GenerationRecord,
        evaluations: Sequence[Evaluation],
        *,
        revised: Sequence[Evaluation] = (),
        beacons: Sequence[Beacon] = (),
    ) -> None:
        assert record.number == len(self.records)
        self.conclude(Role.SEARCH, evaluations)
        for evaluation in revised:
            row = self.concluded[Role.SEARCH, evaluation.generation]
            row[evaluation.position] = evaluation
        self.made += beacons
        self.records.append(record)

    def add_test_metrics(self, role: Role, metrics: Mapping[str, Mapping[str, float]]) -> None:
        self.test |= {(role, h): m for h, m in metrics.items()}

    def note(self, kind: str, data: Mapping[str, object]) -> None:
        self.notes.append(kind)

    def stop_requested(self) -> bool:
        return self.stop

    def results(self) -> object:
        """Return everything that must not depend on how the run went."""
        records = [
            replace(r, counts={k: v for k, v in r.counts.items() if k != "cached"})
            for r in self.records
        ]
        return (records, self.concluded, self.laid, self.extra, self.test, self.made)
