"""One job's rows, open to the driver that holds the job's lease."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, final

import numpy as np
from sqlalchemy import Engine, Executable

from dse.design import Choices, Design, Evaluation
from dse.errors import StoreError
from dse.ports import Foundation, GenerationRecord, IntArray, Outcome, Proposal, Role, Status
from storage import events, flights
from storage import statements as sql
from storage.drift import refuse_other_designs, refuse_other_foundation, refuse_repeats
from storage.engine import connect_reading
from storage.fronts import CURRENT, move_front
from storage.leases import Lease, fence, fenced_out
from storage.repositories import Results
from storage.text import storable
from storage.upserts import upserts

STATE_FORMAT = 1

_COUNTS = ("designs", "measured", "cached", "screened", "failed")
# SQLite and Postgres bound the parameters of one statement.
_KEYS_A_QUERY = 500


@final
class SqlRunStore:
    """A `dse.ports.RunStore` in SQL, for one thread.

    Each writing method is one transaction that begins with the update of the job's row under the
    lease, so a driver that has lost its job changes nothing.

    Raises, from every writing method:
        FencedOutError: the job is another's.
        StoreError: the database refuses, or a figure is not finite.
    """

    def __init__(self, engine: Engine, lease: Lease, *, shared_cache: bool) -> None:
        """Open the store.

        Args:
            shared_cache: recall what other jobs have measured too.
        """
        self._engine = engine
        self._lease = lease
        self._job = {"job": lease.job_id}
        self._shared_cache = shared_cache
        self._upserts = upserts(engine.dialect.name)
        self._ids: dict[Role, dict[str, int]] = {}
        self._writer = engine.connect()
        self._reader = connect_reading(engine)
        self._workload: str = self._read(sql.WORKLOAD)[0][0]
        self._judged = {row.key for row in self._read(sql.JUDGED)}
        self._hashes: dict[str, str] = {}

    def close(self) -> None:
        """Give the connections back; the lease stands until it is released."""
        self._writer.close()
        self._reader.close()

    def foundation(self) -> Foundation | None:
        """Return what was fixed before generation 0, None before that."""
        float_metrics, point = self._read(sql.FOUNDATION)[0]
        if float_metrics is None:
            return None
        return Foundation(float_metrics=float_metrics, reference_point=point)

    def lay_foundation(self, foundation: Foundation) -> None:
        """Store the foundation; repeating it changes nothing.

        Raises:
            DriftError: another one is stored already.
        """
        values = {
            "metrics": _finite(foundation.float_metrics, "the float network"),
            "point": _finite(foundation.reference_point, "the reference point"),
            "at": datetime.now(UTC),
        }
        with self._holding():
            stored = self.foundation()
            if stored is None:
                self._writer.execute(sql.LAY, fence(self._lease) | values)
            else:
                refuse_other_foundation(stored, foundation)

    def add_float_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add figures of the unquantized network to the foundation; repeatable."""
        figures = _finite(metrics, "the float network")
        with self._holding():
            stored = self.foundation()
            if stored is None:
                raise StoreError("figures of the float network need a foundation to stand on")
            values = {"metrics": {**stored.float_metrics, **figures}, "at": datetime.now(UTC)}
            self._writer.execute(sql.ADD_FLOAT_METRICS, fence(self._lease) | values)

    def last_generation(self) -> GenerationRecord | None:
        """Return the last finished generation; its front in order of (generation, position).

        Raises:
            StoreError: a newer release wrote its state.
        """
        rows = self._read(sql.LAST_GENERATION)
        if not rows:
            return None
        last = rows[0]
        if last.format_version > STATE_FORMAT:
            raise StoreError(
                f"job {self._lease.job_id}: generation {last.number} has state format "
                f"{last.format_version}, this release reads formats up to {STATE_FORMAT}"
            )
        return GenerationRecord(
            number=last.number,
            state=last.state,
            hypervolume=last.hypervolume,
            front=tuple(row.hash for row in self._read(CURRENT)),
            counts={name: getattr(last, name) for name in _COUNTS},
        )

    def genomes(self) -> IntArray:
        """Return the genomes of finished generations: (n, n_genes), (0, 0) for none."""
        rows = [row.genome for row in self._read(sql.GENOMES)]
        return np.array(rows, dtype=np.int64) if rows else np.empty((0, 0), dtype=np.int64)

    def front(self) -> list[Evaluation]:
        """Return the front of the last finished generation, by (generation, position)."""
        with self._reader.begin():
            return Results(self._reader).front(self._lease.job_id)

    def propose(self, role: Role, generation: int, proposals: Sequence[Proposal]) -> None:
        """Store designs before anything is measured; repeating it changes nothing.

        Raises:
            DriftError: other designs are already stored for this role and generation.
            StoreError: a design was proposed before, in this generation or another.
        """
        hashes = [proposal.design.hash for proposal in proposals]
        place = {**self._job, "role": role, "generation": generation}
        self._hashes |= {p.key: h for p, h in zip(proposals, hashes, strict=True)}
        with self._holding():
            stored = [row.hash for row in self._writer.execute(sql.PLACED, place)]
            if stored:
                refuse_other_designs(role, generation, stored, hashes)
                return
            known = self._known(role)
            refuse_repeats(role, known, hashes)
            if not proposals:
                return
            self._writer.execute(sql.INSERT_DESIGN, self._rows(role, generation, proposals))
            ids = {row.hash: row.id for row in self._writer.execute(sql.PLACED, place)}
            self._set_metrics((h, ids[h], p.costs) for h, p in zip(hashes, proposals, strict=True))
        known.update(ids)

    def recall(self, keys: Iterable[str]) -> dict[str, dict[str, float]]:
        """Return the stored measurements among `keys`.

        Under a verdict of this job a key has none, whatever other jobs measured: a resumed run
        would otherwise differ from an uninterrupted one.
        """
        statement = sql.RECALL if self._shared_cache else sql.RECALL_OWN
        return dict(self._by_key(statement, keys))

    def verdicts(self, keys: Iterable[str]) -> dict[str, str]:
        """Return this job's standing verdicts among `keys`, as "STATUS: reason"."""
        rows = self._by_key(sql.VERDICTS, keys)
        return {key: f"{outcome}: {reason}" for key, outcome, reason in rows}

    def dispatched(self, keys: Iterable[str], *, alone: bool = False) -> None:
        """Mark evaluations as in flight before they run: a batch in one transaction."""
        with self._holding():
            mine = (self._lease.job_id, self._lease.attempt)
            flights.take_off(self._writer, *mine, keys, alone=alone)

    def suspects(self) -> set[str]:
        """Return the keys in flight when an earlier driver died, as far as they have no outcome.

        Whoever found that driver dead has counted its death against what it ran alone.
        """
        rows = self._read(flights.SUSPECTS, attempt=self._lease.attempt)
        keys = {row.key for row in rows}
        return keys - self.recall(keys).keys() - self.verdicts(keys).keys()

    def died(self, key: str, *, alone: bool) -> int:
        """Note that the process of an evaluation in flight died; return how often it did alone.

        The third time stores a verdict POISONED and an event "evaluation.poisoned".
        """
        if not alone:
            rows = self._read(flights.DEATHS, of_key=key)
            return rows[0].deaths if rows else 0
        with self._holding():
            deaths = flights.count_death(self._writer, self._lease.job_id, key)
        if deaths >= flights.MAX_DEATHS:
            self._judged.add(key)
        return deaths

    def record(self, outcome: Outcome, *, split: str, choices: Choices | None) -> None:
        """Store a measurement for all jobs, or a verdict for this one.

        The first measurement under a key stands; one with other figures appends an event
        "evaluation.mismatch". A measurement lifts this job's verdict on its key.
        """
        if outcome.status is Status.OK:
            self._record_measurement(outcome, split=split, choices=choices)
            return
        verdict = {
            "job_id": self._lease.job_id,
            "key": outcome.key,
            "outcome": outcome.status,
            "attempts": 1,
            "reason": storable(outcome.reason or "no reason given"),
        }
        with self._holding():
            self._writer.execute(self._upserts.verdict, verdict)
        self._judged.add(outcome.key)

    def conclude(self, role: Role, evaluations: Sequence[Evaluation]) -> None:
        """Fill in the metrics and feasibility of proposed designs; repeatable."""
        with self._holding():
            self._conclude(role, evaluations)
            flights.land_all(self._writer, self._lease.job_id)

    def finish_generation(
        self, record: GenerationRecord, evaluations: Sequence[Evaluation]
    ) -> None:
        """Conclude the generation's designs and store its record, front and event at once."""
        at = datetime.now(UTC)
        counts = {name: record.counts[name] for name in _COUNTS}
        row = {
            "job_id": self._lease.job_id,
            "number": record.number,
            "format_version": STATE_FORMAT,
            "state": record.state,
            "hypervolume": record.hypervolume,
            "finished_at": at,
        }
        told = {
            "generation": record.number,
            "hypervolume": record.hypervolume,
            "front": len(record.front),
        }
        with self._writer.begin():
            seq = self._number(sql.FINISH, number=record.number, at=at)
            self._conclude(Role.SEARCH, evaluations)
            self._writer.execute(sql.INSERT_GENERATION, {**row, **counts})
            after = {h: self._id(Role.SEARCH, h) for h in record.front}
            move_front(self._writer, self._lease.job_id, record.number, after)
            flights.land_all(self._writer, self._lease.job_id)
            self._append(seq, events.EventKind.GENERATION_FINISHED, {**told, **counts})

    def add_test_metrics(self, role: Role, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Add `test_…` metrics to designs, by hash; repeatable."""
        with self._holding():
            self._set_metrics((h, self._id(role, h), figures) for h, figures in metrics.items())

    def note(self, kind: str, data: Mapping[str, object]) -> None:
        """Append an event."""
        with self._writer.begin():
            self._append(self._number(sql.NUMBER), kind, data)

    def stop_requested(self) -> bool:
        """Tell whether the job shall be cancelled or paused."""
        return any(self._read(sql.FLAGS)[0])

    @contextmanager
    def _holding(self, statement: Executable = sql.HOLD) -> Iterator[None]:
        with self._writer.begin():
            if self._writer.execute(statement, fence(self._lease)).rowcount == 0:
                raise fenced_out(self._lease)
            yield

    def _number(self, statement: Executable, **values: object) -> int:
        result = self._writer.execute(statement, {**fence(self._lease), **values})
        seq: int | None = result.scalar_one_or_none()
        if seq is None:
            raise fenced_out(self._lease)
        return seq

    def _append(self, seq: int, kind: str, data: Mapping[str, object]) -> None:
        events.append(self._writer, job_id=self._lease.job_id, seq=seq, kind=kind, data=data)

    def _read(self, statement: Executable, **values: object) -> Sequence[Any]:
        parameters: dict[str, object] = {**self._job, **values}
        with self._reader.begin():
            return self._reader.execute(statement, parameters).all()

    def _by_key(self, statement: Executable, keys: Iterable[str]) -> Iterator[Any]:
        wanted = list(keys)
        for start in range(0, len(wanted), _KEYS_A_QUERY):
            yield from self._read(statement, keys=wanted[start : start + _KEYS_A_QUERY])

    def _known(self, role: Role) -> dict[str, int]:
        if role not in self._ids:
            rows = self._writer.execute(sql.DESIGN_IDS, {**self._job, "role": role})
            self._ids[role] = {row.hash: row.id for row in rows}
        return self._ids[role]

    def _id(self, role: Role, design_hash: str) -> int:
        found = self._known(role).get(design_hash)
        if found is None:
            raise StoreError(f"design {design_hash} was not proposed as {role} in this job")
        return found

    def _rows(
        self, role: Role, generation: int, proposals: Sequence[Proposal]
    ) -> list[dict[str, object]]:
        return [
            {
                "job_id": self._lease.job_id,
                "role": role,
                "generation": generation,
                "position": position,
                "hash": proposal.design.hash,
                "genome": None if proposal.genome is None else [int(g) for g in proposal.genome],
                "choices": proposal.design.to_json(),
                "label": proposal.label,
                "evaluation_key": proposal.key,
                "violation": proposal.violation,
            }
            for position, proposal in enumerate(proposals)
        ]

    def _set_metrics(self, items: Iterable[tuple[str, int, Mapping[str, float]]]) -> None:
        rows = [
            {"design_id": design_id, "name": name, "value": value}
            for design_hash, design_id, figures in items
            for name, value in _finite(figures, f"design {design_hash}").items()
        ]
        if rows:
            self._writer.execute(self._upserts.metric, rows)

    def _record_measurement(
        self, outcome: Outcome, *, split: str, choices: Choices | None
    ) -> None:
        key, metrics = outcome.key, _finite(outcome.metrics or {}, f"evaluation {outcome.key}")
        row = {
            "key": key,
            "job_id": self._lease.job_id,
            "workload": self._workload,
            "split": split,
            "design_hash": self._hash(key, choices),
            "metrics": metrics,
            "seconds": outcome.seconds,
            "created_at": datetime.now(UTC),
        }
        ours = {"job_id": self._lease.job_id, "key": key}
        with self._holding(sql.PROGRESS):
            if self._writer.execute(self._upserts.measurement, row).rowcount == 0:
                self._writer.execute(self._upserts.use, ours)
                self._compare_with_stored(key, metrics)
            if key in self._judged:
                self._writer.execute(sql.LIFT_VERDICT, ours)
        self._judged.discard(key)

    def _hash(self, key: str, choices: Choices | None) -> str | None:
        if choices is None:
            return None
        # A proposed design's hash is known; computing it costs as much as a statement.
        return self._hashes.get(key) or Design(choices).hash

    def _compare_with_stored(self, key: str, metrics: Mapping[str, float]) -> None:
        stored = self._writer.execute(sql.STORED, {"key": key}).scalar_one()
        if stored != metrics:
            data = {"key": key, "stored": stored, "measured": metrics}
            self._append(self._number(sql.NUMBER), events.EventKind.EVALUATION_MISMATCH, data)

    def _conclude(self, role: Role, evaluations: Sequence[Evaluation]) -> None:
        if not evaluations:
            return
        ids = [self._id(role, evaluation.design.hash) for evaluation in evaluations]
        rows = [
            {
                "design": design_id,
                "is_feasible": evaluation.feasible,
                "by": evaluation.violation,
                "from_weights": evaluation.origin,
                "why": None if evaluation.reason is None else storable(evaluation.reason),
            }
            for design_id, evaluation in zip(ids, evaluations, strict=True)
        ]
        self._writer.execute(sql.CONCLUDE, rows)
        self._set_metrics(
            (evaluation.design.hash, design_id, evaluation.metrics)
            for design_id, evaluation in zip(ids, evaluations, strict=True)
        )


def _finite(figures: Mapping[str, float], whose: str) -> dict[str, float]:
    for name, value in figures.items():
        if not math.isfinite(value):
            raise StoreError(f"{whose}: {name} must be a finite number, got {value}")
    return {name: float(value) for name, value in figures.items()}
