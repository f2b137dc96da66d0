"""Whatever drivers, clocks and users do: the promises of leases, events and evaluations."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, delete, select

from dse.errors import ConflictError, FencedOutError
from dse.ports import Role
from storage.control import request_cancel, request_pause, resume_job
from storage.engine import reading
from storage.jobs import create_job
from storage.leases import Lease, claim_next, release
from storage.losses import sweep
from storage.run_store import SqlRunStore
from storage.tables import EvaluationRow, JobRow, JobState
from tests.storage.builders import (
    evaluations,
    events,
    far,
    job,
    measured,
    proposals,
    record,
    run_out,
    spec,
)

_DRIVERS = st.integers(0, 2)
_END = (JobState.READY, JobState.PAUSED, JobState.SUCCEEDED)


class Life(RuleBasedStateMachine):
    """One job, three drivers on hosts of their own that never learn of each other, its users."""

    engine: Engine

    def __init__(self) -> None:
        super().__init__()
        with self.engine.begin() as connection:
            connection.execute(delete(JobRow))
            connection.execute(delete(EvaluationRow))
        self.job_id = create_job(self.engine, spec())
        self.owners = [far(f"host{number}") for number in range(3)]
        self.leases: dict[int, Lease] = {}
        self.holder: int | None = None
        self.attempt = 0
        self.generation = -1
        self.measured: set[int] = set()

    @rule(driver=_DRIVERS)
    def claim(self, driver: int) -> None:
        lease = claim_next(self.engine, self.owners[driver])
        if lease is not None:
            assert self.holder is None
            assert (lease.attempt, lease.generation) == (self.attempt + 1, self.generation)
            self.leases[driver], self.holder, self.attempt = lease, driver, lease.attempt

    @precondition(lambda self: self.holder is not None)
    @rule()
    def lose(self) -> None:
        run_out(self.engine, self.job_id)
        assert [loss.job_id for loss in sweep(self.engine)] == [self.job_id]
        self.holder = None

    @rule(driver=_DRIVERS, number=st.integers(0, 5))
    def store_measurement(self, driver: int, number: int) -> None:
        outcome = measured(number)
        if self._writes(driver, lambda s: s.record(outcome, split="search", choices=None)):
            self.measured.add(number)

    @rule(driver=_DRIVERS, ahead=st.integers(0, 2))
    def finish(self, driver: int, ahead: int) -> None:
        number = self.generation + ahead

        def finish(store: SqlRunStore) -> None:
            store.propose(Role.SEARCH, number, proposals([number % 27]))
            found = evaluations([number % 27], number)
            store.finish_generation(record(number, [number % 27], designs=1), found)

        held = self.holder is not None and self.holder == driver
        if held and ahead == 1:
            assert self._writes(driver, finish)
            self.generation = number
        elif not held:
            assert not self._writes(driver, finish)

    @rule(driver=_DRIVERS, state=st.sampled_from(_END))
    def give_back(self, driver: int, state: JobState) -> None:
        lease = self.leases.get(driver)
        if lease is None:
            return
        try:
            release(self.engine, lease, state)
        except FencedOutError:
            assert self.holder != driver
        else:
            assert self.holder == driver
            self.holder = None

    @rule(ask=st.sampled_from([request_cancel, request_pause, resume_job]))
    def ask(self, ask: object) -> None:
        assert callable(ask)
        try:
            ask(self.engine, self.job_id)
        except ConflictError:
            pass

    @invariant()
    def promises_hold(self) -> None:
        found = job(self.engine, self.job_id)
        seqs = [event.seq for event in events(self.engine, self.job_id)]
        assert seqs == list(range(1, found.event_seq + 1))
        assert (found.attempt, found.generation) == (self.attempt, self.generation)
        assert (found.state == JobState.LEASED) is (self.holder is not None)
        if found.state != JobState.LEASED:
            assert (found.owner, found.cancel_requested, found.pause_requested) == (
                None,
                False,
                False,
            )
        with reading(self.engine) as connection:
            stored = select(EvaluationRow.key).order_by(EvaluationRow.key)
            keys = list(connection.scalars(stored))
        assert keys == sorted(f"key-{number}" for number in self.measured)

    def _writes(self, driver: int, write: object) -> bool:
        lease = self.leases.get(driver)
        if lease is None:
            return False
        assert callable(write)
        store = SqlRunStore(self.engine, lease, shared_cache=True)
        try:
            write(store)
        except FencedOutError:
            assert self.holder != driver
            return False
        finally:
            store.close()
        assert self.holder == driver
        return True


def test_promises_hold_whatever_drivers_and_users_do(engine: Engine) -> None:
    class Here(Life):
        pass

    Here.engine = engine
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
