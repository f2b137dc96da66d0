import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from dse.design import BeaconReading, Design
from dse.errors import StoreError, UnknownNameError
from dse.ports import Role
from dse.tasks import CurvePoint, Outcome, Retrained, Status
from storage.beacons import BeaconState, find_beacon, list_beacons
from storage.control import delete_job, request_cancel
from storage.engine import reading
from storage.jobs import create_job
from storage.leases import release
from storage.losses import free_dead_owners
from storage.repositories import Results
from storage.run_store import SqlRunStore
from storage.tables import JobState
from tests.storage.builders import (
    beacon,
    design,
    evaluation,
    evaluations,
    events,
    measured,
    proposals,
    record,
    retrained,
    retraining,
    run_generation,
    served,
    spec,
    take,
)
from tests.storage.conftest import OpenStore

FAILED = Outcome(key="retraining-1", status=Status.FAILED, reason="loss is nan at step 3")


def with_a_beacon(store: SqlRunStore) -> None:
    """Two generations; in the second design 3 becomes a beacon, which serves it, design 4 and,
    revised, design 5 of the first."""
    run_generation(store, 0, [5, 6], [5])
    store.propose(Role.SEARCH, 1, proposals([3, 4, 7]))
    store.record_retraining(retrained(3), retraining(3))
    found = [
        served(3, 1, 0, by=1, error=5.0),
        served(4, 1, 1, by=1, error=6.0),
        replace(
            evaluation(7, 1, 2), beacon=BeaconReading(number=1, distance=4.0, error=1 / 3 + 50)
        ),
    ]
    store.finish_generation(
        record(1, [3, 5], designs=3),
        found,
        revised=[served(5, 0, 0, by=1, error=4.5)],
        beacons=[beacon(1, 3, 1)],
    )


def test_a_retraining_serves_all_jobs_unless_told_otherwise(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    store.record_retraining(retrained(1), retraining(1))
    other = take(engine, create_job(engine, spec()))
    alone = open_store(other, shared_cache=False)
    made = {"retraining-1": retrained(1).retrained}

    assert store.recall_retrainings(["retraining-1", "retraining-2"]) == made
    assert open_store(other).recall_retrainings(["retraining-1"]) == made
    assert alone.recall_retrainings(["retraining-1"]) == {}
    alone.record_retraining(retrained(1), retraining(1))
    assert alone.recall_retrainings(["retraining-1"]) == made
    mine = open_store(store._lease, shared_cache=False)
    assert mine.recall_retrainings(["retraining-1"]) == made


def test_weights_that_are_made_again_replace_those_before(store: SqlRunStore) -> None:
    store.record_retraining(retrained(1), retraining(1))

    store.record_retraining(retrained(1, digest="f" * 64), retraining(1))

    assert store.recall_retrainings(["retraining-1"])["retraining-1"].digest == "f" * 64


def test_a_failed_retraining_is_a_verdict_for_its_job_alone(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    other = open_store(take(engine, create_job(engine, spec())))
    store.record_retraining(FAILED, retraining(1))
    other.record_retraining(retrained(1), retraining(1))

    assert store.verdicts(["retraining-1"]) == {"retraining-1": "FAILED: loss is nan at step 3"}
    assert store.recall_retrainings(["retraining-1"]) == {}
    assert other.verdicts(["retraining-1"]) == {}
    assert other.recall_retrainings(["retraining-1"]) != {}

    store.record_retraining(retrained(1), retraining(1))

    assert store.verdicts(["retraining-1"]) == {}
    assert store.recall_retrainings(["retraining-1"]) != {}


@pytest.mark.parametrize(
    "point",
    [
        CurvePoint(step=50, loss=math.nan, error=5.0),
        CurvePoint(step=50, loss=1.0, error=math.inf),
    ],
)
def test_a_curve_that_is_not_finite_is_refused(store: SqlRunStore, point: CurvePoint) -> None:
    made = Retrained(digest="0" * 64, size=1, best_step=0, curve=(point,))
    outcome = Outcome(key="retraining-1", status=Status.OK, retrained=made)

    with pytest.raises(StoreError, match="retraining-1, step 50: .* must be a finite number"):
        store.record_retraining(outcome, retraining(1))
    assert store.recall_retrainings(["retraining-1"]) == {}


def test_weights_that_nobody_made_are_refused(store: SqlRunStore) -> None:
    with pytest.raises(StoreError, match="retraining-1 is OK without weights"):
        store.record_retraining(Outcome(key="retraining-1", status=Status.OK), retraining(1))


def test_a_retraining_in_flight_when_a_driver_died_is_suspect(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    store.dispatched(["retraining-1", "retraining-2", "retraining-3"])
    store.record_retraining(FAILED, retraining(1))
    store.record_retraining(retrained(2), retraining(2))

    assert open_store(take(engine, store._lease.job_id)).suspects() == {"retraining-3"}


def test_weights_that_are_being_made_again_are_suspect_too(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    store.record_retraining(retrained(1), retraining(1))
    store.dispatched(["retraining-1"], alone=True)
    free_dead_owners(engine)

    second = open_store(take(engine, store._lease.job_id))

    assert second.suspects() == {"retraining-1"}
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT deaths FROM dispatch")) == 1


def test_a_retraining_that_dies_alone_three_times_is_given_up(store: SqlRunStore) -> None:
    for _ in range(3):
        store.dispatched(["retraining-1"], alone=True)
        store.died("retraining-1", alone=True)

    assert "POISONED" in store.verdicts(["retraining-1"])["retraining-1"]


def test_beacons_are_those_of_finished_generations(store: SqlRunStore) -> None:
    assert store.beacons() == []

    with_a_beacon(store)

    assert store.beacons() == [beacon(1, 3, 1)]


def test_what_designs_did_on_beacons_is_read_back_exactly(
    engine: Engine, store: SqlRunStore
) -> None:
    with_a_beacon(store)

    with reading(engine) as connection:
        found = Results(connection).evaluations(store._lease.job_id)
    assert found == [
        served(5, 0, 0, by=1, error=4.5),
        evaluation(6, 0, 1),
        served(3, 1, 0, by=1, error=5.0),
        served(4, 1, 1, by=1, error=6.0),
        replace(
            evaluation(7, 1, 2), beacon=BeaconReading(number=1, distance=4.0, error=1 / 3 + 50)
        ),
    ]


def test_evaluations_come_in_the_order_that_is_asked_for(store: SqlRunStore) -> None:
    with_a_beacon(store)
    store.propose(Role.SEARCH, 2, proposals([8]))
    store.propose(Role.BASELINE, 0, proposals([1]))
    store.conclude(Role.BASELINE, evaluations([1], 0))
    wanted = [design(number).hash for number in (7, 8, 1, 5, 2)]

    found = store.evaluations(wanted)

    assert [e.design for e in found] == [design(7), design(5)]
    assert found[1] == served(5, 0, 0, by=1, error=4.5)


def test_evaluations_since_a_generation_come_in_order(store: SqlRunStore) -> None:
    with_a_beacon(store)
    store.propose(Role.SEARCH, 2, proposals([8]))
    store.propose(Role.BASELINE, 0, proposals([1]))
    store.conclude(Role.BASELINE, evaluations([1], 0))

    def since(generation: int) -> list[Design]:
        return [e.design for e in store.evaluations_since(generation)]

    assert since(0) == [design(number) for number in (5, 6, 3, 4, 7)]
    assert since(1) == [design(number) for number in (3, 4, 7)]
    assert since(2) == []


def test_revised_designs_keep_no_figure_of_other_weights(
    engine: Engine, store: SqlRunStore
) -> None:
    run_generation(store, 0, [5], [5])
    store.add_test_metrics(Role.SEARCH, {design(5).hash: {"test_error": 13.0}})

    (known,) = store.evaluations([design(5).hash])
    better = served(5, 0, 0, by=1)

    revised = replace(better, metrics={**known.metrics, **better.metrics})
    store.finish_generation(record(1, [5]), [], revised=[revised])

    assert "test_error" in revised.metrics
    assert store.evaluations([design(5).hash]) == [better]


def test_a_revised_design_enters_the_front_when_it_is_revised(
    engine: Engine, store: SqlRunStore
) -> None:
    run_generation(store, 0, [5, 6], [6])
    store.finish_generation(record(1, [5]), [], revised=[served(5, 0, 0, by=1)])

    with reading(engine) as connection:
        fronts = [Results(connection).front(store._lease.job_id, number) for number in (0, 1)]
    assert [[e.design for e in front] for front in fronts] == [[design(6)], [design(5)]]


def test_beacons_are_told_before_the_end_of_their_generation(
    engine: Engine, store: SqlRunStore
) -> None:
    run_generation(store, 0, [5], [5])
    store.propose(Role.SEARCH, 1, proposals([3, 4]))
    store.record_retraining(retrained(3), retraining(3))
    failed = replace(beacon(2, 4, 1), digest=None, reason="FAILED: loss is nan\0")

    store.finish_generation(
        record(1, [5]), evaluations([3, 4], 1), beacons=[beacon(1, 3, 1), failed]
    )

    told = events(engine, store._lease.job_id)
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert [(event.kind, event.data) for event in told[-3:-1]] == [
        (
            "beacon.created",
            {
                "number": 1,
                "design": design(3).hash,
                "sha256": beacon(1, 3, 1).digest,
                "best_step": 50,
                "base_error": (measured(3).metrics or {})["error"],
                "error": 5.0,
            },
        ),
        (
            "beacon.failed",
            {"number": 2, "design": design(4).hash, "reason": "FAILED: loss is nan?"},
        ),
    ]
    assert (told[-1].kind, told[-1].data["generation"]) == ("generation.finished", 1)


def test_summaries_tell_what_came_of_beacons(engine: Engine, store: SqlRunStore) -> None:
    with_a_beacon(store)

    with reading(engine) as connection:
        (found,) = list_beacons(connection, store._lease.job_id)
        assert find_beacon(connection, store._lease.job_id, 1) == found
        with pytest.raises(UnknownNameError, match="unknown beacon 2; allowed: 1"):
            find_beacon(connection, store._lease.job_id, 2)

    base = {number: (measured(number).metrics or {})["error"] for number in (3, 4, 5)}
    assert (found.state, found.served, found.reason) == (BeaconState.READY, 3, None)
    gains = [base[3] - 5.0, base[4] - 6.0, base[5] - 4.5]
    assert found.mean_gain == pytest.approx(sum(gains) / 3)
    assert (found.base_error, found.error) == (base[3], 5.0)
    assert (found.steps, found.seed, found.best_step) == (100, 7, 50)
    assert (found.size, found.seconds) == (2**33 + 3, 12.5)
    assert found.curve == retrained(3).retrained.curve  # type: ignore[union-attr]


def test_a_beacon_is_lost_once_and_for_good(engine: Engine, store: SqlRunStore) -> None:
    with_a_beacon(store)

    for _ in range(2):
        store.lose_beacon(1, "its file is altered")

    (lost,) = store.beacons()
    assert (lost.digest, lost.reason) == (None, "its file is altered")
    told = [e for e in events(engine, store._lease.job_id) if e.kind == "beacon.lost"]
    assert [e.data for e in told] == [
        {"number": 1, "sha256": beacon(1, 3, 1).digest, "reason": "its file is altered"}
    ]
    with reading(engine) as connection:
        (found,) = list_beacons(connection, store._lease.job_id)
    assert (found.state, found.digest) == (BeaconState.LOST, beacon(1, 3, 1).digest)
    assert found.served == 3


def test_a_beacon_that_failed_cannot_be_lost(engine: Engine, store: SqlRunStore) -> None:
    failed = replace(beacon(1, 3, 0), digest=None, reason="FAILED: no")
    store.propose(Role.SEARCH, 0, proposals([3]))
    store.finish_generation(record(0, [3]), evaluations([3], 0), beacons=[failed])

    store.lose_beacon(1, "its file is missing")
    store.lose_beacon(7, "its file is missing")

    assert store.beacons() == [failed]
    with reading(engine) as connection:
        (found,) = list_beacons(connection, store._lease.job_id)
    assert (found.state, found.reason, found.curve) == (BeaconState.FAILED, "FAILED: no", ())
    assert (found.served, found.mean_gain, found.steps) == (0, None, None)


def test_nothing_is_told_of_weights_that_another_job_has_put_in_their_place(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    with_a_beacon(store)
    other = open_store(take(engine, create_job(engine, spec())))
    other.record_retraining(retrained(3, digest="f" * 64), retraining(3))

    with reading(engine) as connection:
        (found,) = list_beacons(connection, store._lease.job_id)

    assert found.digest == beacon(1, 3, 1).digest
    assert (found.curve, found.size) == ((), None)


def test_a_deleted_job_leaves_its_retrainings_to_others(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    with_a_beacon(store)
    job_id = store._lease.job_id
    request_cancel(engine, job_id)
    release(engine, store._lease, JobState.CANCELLED)

    delete_job(engine, job_id)

    other = open_store(take(engine, create_job(engine, spec())))
    assert other.recall_retrainings(["retraining-3"]) != {}
    with reading(engine) as connection:
        assert connection.scalar(text("SELECT count(*) FROM beacon")) == 0
        assert connection.scalar(text("SELECT count(*) FROM retraining_use")) == 0


def test_queries_of_the_guide_give_what_they_say(engine: Engine, store: SqlRunStore) -> None:
    with_a_beacon(store)
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")

    front, gains = re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)

    with reading(engine) as connection:
        assert connection.execute(text(front)).all() == []  # none of these has a speedup
        (row,) = connection.execute(text(gains)).all()
        (found,) = list_beacons(connection, store._lease.job_id)
    assert tuple(row) == (1, found.served, pytest.approx(found.mean_gain))
