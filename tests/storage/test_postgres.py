from typing import Any

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.engine import make_url

from dse.errors import StoreError, StoreUnavailableError
from dse.tasks import Outcome, Status
from storage.control import request_cancel
from storage.engine import make_engine, reading
from storage.jobs import create_job
from storage.repositories import Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import JobRow
from tests.storage.builders import spec, take
from tests.storage.server import break_connections


def test_connections_give_up_in_time_and_speak_utc(postgres_engine: Engine) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")

    assert [_shown(postgres_engine, name) for name in names] == ["30s", "1min", "30s"]
    assert _shown(postgres_engine, "timezone") == "UTC"


def test_options_of_the_url_win(postgres_url: str) -> None:
    url = make_url(postgres_url).update_query_dict({"options": "-c statement_timeout=7s"})
    engine = make_engine(url.render_as_string(hide_password=False))

    assert _shown(engine, "statement_timeout") == "7s"
    assert _shown(engine, "lock_timeout") == "30s"
    engine.dispose()


def _shown(engine: Engine, name: str) -> Any:  # a setting as text
    with reading(engine) as connection:
        return connection.execute(text(f"SHOW {name}")).scalar_one()


def test_a_reading_transaction_cannot_write(postgres_engine: Engine) -> None:
    with (
        reading(postgres_engine) as connection,
        pytest.raises(StoreError, match="read-only transaction"),
    ):
        connection.execute(update(JobRow).values(crashes=1))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:geheim@127.0.0.1:1/dse",
        "postgresql+psycopg://me@127.0.0.1:1/dse?password=geheim",
        "postgresql://me:geheim@/dse?host=/nowhere",
    ],
)
def test_a_server_that_is_away_is_told_without_the_password(url: str) -> None:
    engine = make_engine(url)

    with pytest.raises(StoreUnavailableError, match="the database dse at .* refuses:") as away:
        create_job(engine, spec())
    assert "geheim" not in str(away.value)
    assert "me:" not in str(away.value)


def test_a_row_locked_beyond_the_timeout_can_be_tried_again(postgres_url: str) -> None:
    engine = make_engine(postgres_url, busy_timeout_s=0.05)
    job_id = create_job(engine, spec())

    with engine.begin() as other:
        other.execute(update(JobRow).values(crashes=1))
        with pytest.raises(StoreUnavailableError, match="lock timeout"):
            request_cancel(engine, job_id)

    assert request_cancel(engine, job_id).state == "CANCELLED"
    engine.dispose()


def test_a_store_goes_on_after_its_connections_broke(postgres_engine: Engine) -> None:
    job_id = create_job(postgres_engine, spec())
    store = SqlRunStore(postgres_engine, take(postgres_engine, job_id), shared_cache=True)
    break_connections(postgres_engine)

    with pytest.raises(StoreUnavailableError, match="terminat|closed"):
        store.note("first", {})
    with pytest.raises(StoreUnavailableError):
        store.stop_requested()
    store.note("second", {})

    assert not store.stop_requested()
    store.close()
    with reading(postgres_engine) as connection:
        assert [e.kind for e in Results(connection).events(job_id)][2:] == ["second"]


def test_pooled_connections_that_broke_are_replaced_unseen(postgres_engine: Engine) -> None:
    job_id = create_job(postgres_engine, spec())
    break_connections(postgres_engine)

    with reading(postgres_engine) as connection:
        assert Jobs(connection).get(job_id).state == "READY"


def test_reasons_may_hold_what_postgres_cannot(postgres_engine: Engine) -> None:
    lease = take(postgres_engine, create_job(postgres_engine, spec()))
    store = SqlRunStore(postgres_engine, lease, shared_cache=True)
    odd = Outcome(key="key-1", status=Status.FAILED, reason="a\0b\ud800c")

    store.record(odd, split="search", choices=None)

    assert store.verdicts(["key-1"]) == {"key-1": "FAILED: a?b?c"}
    store.close()
