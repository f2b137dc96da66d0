"""One job's rows, open to the driver that holds the job's lease."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, final

import numpy as np
from sqlalchemy import Engine, Executable

from dse.design import Beacon, Choices, Design, Evaluation
from dse.errors import StoreError
from dse.ports import Foundation, GenerationRecord, IntArray, Proposal, Role
from dse.tasks import Outcome, Retrained, Retraining, Status
from storage import beacons as beacon_rows
from storage import designs, drift, events, flights, measurements, retrainings
from storage import statements as sql
from storage.engine import connect_reading
from storage.fronts import CURRENT, move_front
from storage.leases import Lease, fence, fenced_out
from storage.repositories import Results
from storage.text import storable

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
            "metrics": designs.finite(foundation.float_metrics, "the float network"),
            "point": designs.finite(foundation.reference_point, "the reference point"),
            "at": datetime.now(UTC),
        }
        with self._holding():
            stored = self.foundation()
            if stored is None:
                self._writer.execute(sql.LAY, fence(self._lease) | values)
            else:
                drift.refuse_other_foundation(stored, foundation)

    def add_float_metrics(self, metrics: Mapping[str, float]) -> None:
        """Add figures of the unquantized network to the foundation; repeatable."""
        figures = designs.finite(metrics, "the float network")
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
        drift.refuse_newer_state(self._lease.job_id, last.number, last.format_version)
        return GenerationRecord(
            number=last.number,
            state=last.state,
            hypervolume=last.hypervolume,
            front=tuple(row.hash for row in self._read(CURRENT)),
            counts={name: getattr(last, name) for name in _COUNTS},
        )

    def states(self) -> list[Mapping[str, object]]:
        """Return the optimizer's state after each finished generation, in order; errors as
        `last_generation`."""
        rows = self._read(sql.STATES)
        for row in rows:
            drift.refuse_newer_state(self._lease.job_id, row.number, row.format_version)
        return [row.state for row in rows]

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
            DriftError: other designs are already stored for this role and generation, or the
                same ones to be measured on another network.
            StoreError: a design was proposed before, in this generation or another.
        """
        hashes = [proposal.design.hash for proposal in proposals]
        place = {**self._job, "role": role, "generation": generation}
        rows = designs.proposal_rows(self._lease.job_id, role, generation, proposals)
        self._hashes |= {p.key: h for p, h in zip(proposals, hashes, strict=True)}
        with self._holding():
            placed = self._writer.execute(sql.PLACED, place)
            if stored := [(row.hash, row.evaluation_key) for row in placed]:
                given = [(p.design.hash, p.key) for p in proposals]
                drift.refuse_other_proposals(role, generation, stored, given)
                return
            known = self._known(role)
            drift.refuse_repeats(role, known, hashes)
            if not proposals:
                return
            self._writer.execute(sql.INSERT_DESIGN, rows)
            ids = {row.hash: row.id for row in self._writer.execute(sql.PLACED, place)}
            costs = ((p.design.hash, ids[p.design.hash], p.costs) for p in proposals)
            designs.set_metrics(self._writer, costs)
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
        if outcome.status is not Status.OK:
            self._judge(outcome)
            return
        with self._holding(sql.PROGRESS):
            differing = measurements.store_measurement(
                self._writer,
                outcome,
                job_id=self._lease.job_id,
                workload=self._workload,
                split=split,
                design_hash=self._hash(outcome.key, choices),
            )
            if differing:
                data = {"key": outcome.key, **differing}
                self._append(self._number(sql.NUMBER), events.EventKind.EVALUATION_MISMATCH, data)
            self._lift_verdict(outcome.key)
        self._judged.discard(outcome.key)

    def recall_retrainings(self, keys: Iterable[str]) -> dict[str, Retrained]:
        """Return the stored retrainings among `keys`; none under a verdict, as `recall`."""
        statement = retrainings.RECALL if self._shared_cache else retrainings.RECALL_OWN
        return {row.key: retrainings.retrained(row) for row in self._by_key(statement, keys)}

    def record_retraining(self, outcome: Outcome, task: Retraining) -> None:
        """Store weights for all jobs, in the place of those under the same key, or a verdict for
        this one. Weights lift this job's verdict."""
        if outcome.status is not Status.OK:
            self._judge(outcome)
            return
        with self._holding(sql.PROGRESS):
            retrainings.store_retraining(
                self._writer, outcome, task, job_id=self._lease.job_id, workload=self._workload
            )
            self._lift_verdict(outcome.key)
        self._judged.discard(outcome.key)

    def beacons(self) -> list[Beacon]:
        """Return the beacons of finished generations by number; lost ones have no digest."""
        with self._reader.begin():
            return beacon_rows.stored_beacons(self._reader, self._lease.job_id)

    def lose_beacon(self, number: int, reason: str) -> None:
        """Note for good that a beacon's weights cannot be used, with an event; repeatable."""
        with self._holding():
            digest = beacon_rows.mark_lost(self._writer, self._lease.job_id, number, reason)
            if digest is not None:
                data = {"number": number, "sha256": digest, "reason": storable(reason)}
                self._append(self._number(sql.NUMBER), events.EventKind.BEACON_LOST, data)

    def evaluations(self, hashes: Iterable[str]) -> list[Evaluation]:
        """Return what finished generations of the search found of these designs, in the order
        of `hashes`; those that none has are left out."""
        wanted = list(hashes)
        found: dict[str, Evaluation] = {}
        with self._reader.begin():
            results = Results(self._reader)
            for some in _portions(wanted):
                found |= results.found(self._lease.job_id, some)
        return [found[h] for h in wanted if h in found]

    def evaluations_since(self, generation: int) -> list[Evaluation]:
        """Return what was found of the designs of a generation and of the finished ones after
        it, by (generation, position)."""
        with self._reader.begin():
            return Results(self._reader).found_since(self._lease.job_id, generation)

    def conclude(self, role: Role, evaluations: Sequence[Evaluation]) -> None:
        """Fill in the metrics and feasibility of proposed designs; repeatable."""
        with self._holding():
            designs.conclude(self._writer, self._placed(role, evaluations))
            flights.land_all(self._writer, self._lease.job_id)

    def finish_generation(
        self,
        record: GenerationRecord,
        evaluations: Sequence[Evaluation],
        *,
        revised: Sequence[Evaluation] = (),
        beacons: Sequence[Beacon] = (),
    ) -> None:
        """Conclude the generation's designs and store its record, front, beacons and events at
        once; revised designs keep no test figure."""
        at, job_id = datetime.now(UTC), self._lease.job_id
        counts = {name: record.counts[name] for name in _COUNTS}
        row = {
            "job_id": job_id,
            "number": record.number,
            "format_version": drift.STATE_FORMAT,
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
            seq = self._number(sql.FINISH, number=record.number, at=at, events=1 + len(beacons))
            designs.conclude(self._writer, self._placed(Role.SEARCH, evaluations))
            designs.revise(self._writer, self._placed(Role.SEARCH, revised))
            beacon_rows.store_beacons(self._writer, job_id, beacons)
            self._writer.execute(sql.INSERT_GENERATION, {**row, **counts})
            after = {h: self._id(Role.SEARCH, h) for h in record.front}
            move_front(self._writer, job_id, record.number, after)
            flights.land_all(self._writer, job_id)
            kinds = beacon_rows.births(self._writer, job_id, {b.number for b in beacons})
            kinds.append((events.EventKind.GENERATION_FINISHED, {**told, **counts}))
            for place, (kind, data) in enumerate(reversed(kinds)):
                self._append(seq - place, kind, data)

    def add_test_metrics(self, role: Role, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Add `test_…` metrics to designs, by hash; repeatable."""
        with self._holding():
            items = ((h, self._id(role, h), figures) for h, figures in metrics.items())
            designs.set_metrics(self._writer, items)

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
        for some in _portions(list(keys)):
            yield from self._read(statement, keys=some)

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

    def _judge(self, outcome: Outcome) -> None:
        with self._holding():
            measurements.store_verdict(self._writer, self._lease.job_id, outcome)
        self._judged.add(outcome.key)

    def _lift_verdict(self, key: str) -> None:
        if key in self._judged:
            self._writer.execute(sql.LIFT_VERDICT, {"job_id": self._lease.job_id, "key": key})

    def _hash(self, key: str, choices: Choices | None) -> str | None:
        if choices is None:
            return None
        # A proposed design's hash is known; computing it costs as much as a statement.
        return self._hashes.get(key) or Design(choices).hash

    def _placed(
        self, role: Role, evaluations: Sequence[Evaluation]
    ) -> list[tuple[int, Evaluation]]:
        return [(self._id(role, evaluation.design.hash), evaluation) for evaluation in evaluations]


def _portions(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _KEYS_A_QUERY):
        yield keys[start : start + _KEYS_A_QUERY]
