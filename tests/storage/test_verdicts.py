from sqlalchemy import Engine, text

from dse.tasks import Outcome, Status
from storage.engine import reading
from storage.jobs import create_job
from storage.run_store import SqlRunStore
from tests.storage.builders import design, measured, spec, take
from tests.storage.conftest import OpenStore


def test_a_verdict_holds_for_its_job_alone(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    other = open_store(take(engine, create_job(engine, spec())))
    slow = Outcome(key="key-1", status=Status.TIMEOUT, reason="600 s")
    store.record(slow, split="search", choices=design(1).choices)
    store.record(Outcome(key="key-2", status=Status.LOST), split="search", choices=None)

    assert store.verdicts(["key-1", "key-2", "key-3"]) == {
        "key-1": "TIMEOUT: 600 s",
        "key-2": "LOST: no reason given",
    }
    assert other.verdicts(["key-1", "key-2"]) == {}
    assert store.recall(["key-1"]) == {}


def test_a_verdict_stands_whatever_another_job_measures(
    engine: Engine, store: SqlRunStore, open_store: OpenStore
) -> None:
    other = open_store(take(engine, create_job(engine, spec())))
    slow = Outcome(key="key-1", status=Status.TIMEOUT, reason="600 s")
    store.record(slow, split="search", choices=None)
    other.record(measured(1), split="search", choices=None)

    assert store.recall(["key-1"]) == {}
    assert store.verdicts(["key-1"]) == {"key-1": "TIMEOUT: 600 s"}
    assert other.recall(["key-1"]) == {"key-1": {"error": 25.0}}


def test_verdicts_count_attempts_and_a_measurement_lifts_them(
    engine: Engine, store: SqlRunStore
) -> None:
    for reason in ("exit 1", "exit 9"):
        failed = Outcome(key="key-1", status=Status.FAILED, reason=reason)
        store.record(failed, split="search", choices=None)
    with reading(engine) as connection:
        attempts = connection.scalar(text("SELECT attempts FROM verdict"))
    assert (attempts, store.verdicts(["key-1"])) == (2, {"key-1": "FAILED: exit 9"})

    store.record(measured(1), split="search", choices=None)

    assert store.verdicts(["key-1"]) == {}
    assert store.recall(["key-1"]) == {"key-1": {"error": 25.0}}
