import time
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, Engine, text, update

from dse.errors import UnknownNameError
from dse.ports import Role
from storage.engine import reading
from storage.jobs import create_job
from storage.leases import Lease, release
from storage.repositories import Counts, Jobs, Results
from storage.run_store import SqlRunStore
from storage.tables import DesignRow, JobState
from tests.storage.builders import (
    design,
    proposals,
    run_generation,
    spec,
    take,
)


def test_pages_of_jobs_make_up_all_jobs(engine: Engine) -> None:
    ids = [create_job(engine, spec(number)) for number in range(7)]
    release(engine, take(engine, ids[3]), JobState.FAILED, error="no data")
    found: list[str] = []

    with reading(engine) as connection:
        while page := Jobs(connection).page(3, before=found[-1] if found else None):
            found += [job.id for job in page]
        failed = Jobs(connection).page(3, state=JobState.FAILED)

    assert found == sorted(ids, reverse=True)
    assert [job.id for job in failed] == [ids[3]]


@pytest.mark.parametrize("feasible", [None, True, False])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_pages_of_results_make_up_all_results(
    engine: Engine, store: SqlRunStore, feasible: bool | None, limit: int
) -> None:
    for generation, numbers in enumerate([(5, 3, 8), (9, 1, 7)]):
        run_generation(store, generation, numbers, [5])
    store.propose(Role.SEARCH, 2, proposals([2]))
    with engine.begin() as connection:
        odd = DesignRow.hash.in_([design(3).hash, design(7).hash])
        connection.execute(update(DesignRow).where(odd).values(feasible=False))
    job_id = store._lease.job_id

    with reading(engine) as connection:
        results = Results(connection)
        every = results.evaluations(job_id)
        found = results.page(job_id, limit=limit, feasible=feasible)
        while True:
            after = (found[-1].generation, found[-1].position)
            page = results.page(job_id, limit=limit, after=after, feasible=feasible)
            found += page
            if not page:
                break
        baselines = results.page(job_id, Role.BASELINE, limit=9)

    assert len(every) == 6
    assert found == [e for e in every if feasible is None or e.feasible is feasible]
    assert baselines == []


def test_counts_sum_up_the_finished_generations(engine: Engine, store: SqlRunStore) -> None:
    job_id = store._lease.job_id
    with reading(engine) as connection:
        nothing = Results(connection).counts(job_id)
    run_generation(store, 0, [5, 3], [5])
    run_generation(store, 1, [9], [5, 9])
    store.propose(Role.SEARCH, 2, proposals([2]))

    with reading(engine) as connection:
        found = Results(connection).counts(job_id)

    zeros = {"measured": 0, "cached": 0, "screened": 0, "failed": 0}
    assert nothing == Counts(generations=0, designs=0, front=0, **zeros)
    assert found == Counts(generations=2, designs=3, front=2, **{**zeros, "measured": 3})


def test_events_come_in_pages_up_to_the_latest(engine: Engine, store: SqlRunStore) -> None:
    for number in range(5):
        store.note("search.exhausted", {"generation": number})
    job_id = store._lease.job_id

    with reading(engine) as connection:
        results, jobs = Results(connection), Jobs(connection)
        latest = jobs.latest_seq(job_id)
        page = results.events(job_id, after=3, limit=2)
        assert results.events(job_id, after=latest) == []
        with pytest.raises(UnknownNameError, match="unknown job 'x'"):
            jobs.latest_seq("x")
        assert jobs.get(job_id).event_seq == latest

    assert latest == 7
    assert [(e.seq, e.data["generation"]) for e in page] == [(4, 1), (5, 2)]


@pytest.mark.slow
def test_reading_a_page_costs_the_same_anywhere_in_50000_designs(
    engine: Engine, lease: Lease
) -> None:
    job_id = lease.job_id
    with engine.begin() as connection:
        _fill(connection, job_id)

    reads: dict[str, Callable[[Results], object]] = {
        "first page": lambda r: r.page(job_id, limit=100),
        "last page": lambda r: r.page(job_id, limit=100, after=(498, 99)),
        "feasible": lambda r: r.page(job_id, limit=100, after=(400, 0), feasible=True),
        "counts": lambda r: r.counts(job_id),
        "hypervolumes": lambda r: r.hypervolumes(job_id),
        "events": lambda r: r.events(job_id, after=49_000, limit=100),
    }
    times = {name: _fastest(engine, read) for name, read in reads.items()}

    assert max(times.values()) < 0.05, times


def _fastest(engine: Engine, read: Callable[[Results], object]) -> float:
    times = []
    for _ in range(3):
        started = time.perf_counter()
        with reading(engine) as connection:
            assert read(Results(connection))
        times.append(time.perf_counter() - started)
    return min(times)


def _fill(connection: Connection, job_id: str) -> None:
    """Make 500 generations of 100 designs with one metric each, and 50,000 events."""
    json = "JSON" if connection.dialect.name == "postgresql" else "TEXT"
    choices, state = f"CAST(:choices AS {json})", f"CAST(:state AS {json})"
    values = {
        "job": job_id,
        "choices": '{"w_bits": {' + ", ".join(f'"L{i:02}": 4' for i in range(16)) + "}}",
        "state": '["' + "0x1.8p+1" * 2000 + '"]',
    }
    at = "'2026-01-01 00:00:00.000000'"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
    for count, statement in (
        (
            49_999,
            "INSERT INTO design (id, job_id, role, generation, position, hash, choices, "
            "evaluation_key, feasible, violation) {} SELECT 100 + i, :job, 'search', i / 100, "
            f"i % 100, CAST(i AS TEXT), {choices}, CAST(i AS TEXT), i % 10 = 0, 0.0 FROM n",
        ),
        (
            49_999,
            "INSERT INTO metric (design_id, name, value) {} SELECT 100 + i, 'error', 1.0 FROM n",
        ),
        (
            499,
            "INSERT INTO generation (job_id, number, format_version, state, hypervolume, "
            f"designs, measured, cached, screened, failed, finished_at) {{}} SELECT :job, i, 1, "
            f"{state}, 1.0, 100, 100, 0, 0, 0, {at} FROM n",
        ),
        (
            49_999,
            "INSERT INTO event (job_id, seq, kind, data, at) {} "
            f"SELECT :job, 10 + i, 'search.exhausted', CAST('[]' AS {json}), {at} FROM n",
        ),
    ):
        filled = text(statement.replace("{}", numbers.format(count)))
        connection.execute(filled, {n: v for n, v in values.items() if f":{n}" in statement})
