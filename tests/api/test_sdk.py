"""The client against the real service, over real connections on loopback."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import Engine

from api.app import create_app
from api.serving import listen, make_server, run
from api.settings import Settings
from dse.client import (
    Client,
    ConflictError,
    Event,
    InvalidRequestError,
    JobFailed,
    JobState,
    JobStopped,
    NotFoundError,
    WaitTimeout,
)
from storage.engine import make_engine, upgrade
from storage.leases import release
from storage.run_store import SqlRunStore
from storage.tables import JobState as StoredState
from tests.storage import builders

SPEC = {
    "name": "through the client",
    "workload": {"name": "sru-phones"},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 4, 8]}],
    "objectives": ["error", "memory_mib"],
    "search": {"population": 4, "offspring": 4, "generations": 2},
}


class Service:
    """The service in a thread; it can be taken down and brought up again at its address."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.engine = engine
        self._settings = settings
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        listener = listen("127.0.0.1", self._port)
        listener.listen(socket.SOMAXCONN)  # so that no client comes too early
        self._port = listener.getsockname()[1]
        app = create_app(self._settings, self.engine)
        self._server = make_server(app)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(run(app, self._server, listener))
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home: Path = tmp_path_factory.mktemp("home")
    url = f"sqlite:///{home / 'dse.db'}"
    engine = make_engine(url)
    upgrade(engine)
    running = Service(Settings(home=home, database_url=url), engine)
    yield running
    running.stop()
    engine.dispose()


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


def _drive(service: Service, job_id: str, *, outcome: StoredState = StoredState.SUCCEEDED) -> None:
    """Run a job's two generations as a worker does."""
    lease = builders.take(service.engine, job_id)
    store = SqlRunStore(service.engine, lease, shared_cache=True)
    store.lay_foundation(builders.FOUNDATION)
    builders.run_generation(store, 0, [0, 1, 2], [0, 1, 2])
    builders.run_generation(store, 1, [3, 4, 5], [0, 5])
    store.close()
    release(service.engine, lease, outcome, error="no data" if outcome == "FAILED" else None)


def test_job_runs_from_its_spec_to_its_front(service: Service, client: Client) -> None:
    job = client.submit(SPEC)
    told: list[Event] = []
    worker = threading.Thread(target=_drive, args=(service, job.id))
    worker.start()

    job.wait(60, on_event=told.append)
    worker.join()

    assert (job.state, job.generation, job.generations) == (JobState.SUCCEEDED, 1, 2)
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert [e.data["state"] for e in told if e.kind == "job.state"] == [
        "READY",
        "LEASED",
        "SUCCEEDED",
    ]
    front = job.front()
    assert front.objectives == ("error", "memory_mib")
    assert {e.hash for e in front} == {builders.design(n).hash for n in (0, 5)}
    assert len(front) == job.front_size
    assert len(job.front(0)) == 3
    assert [e.position for e in job.evaluations()] == [0, 1, 2, 0, 1, 2]
    assert [g.number for g in job.history()] == [0, 1]
    assert job.history()[-1].hypervolume == job.hypervolume
    assert job.baselines() == ()
    assert job.document()["job"]["id"] == job.id
    assert job.refresh().spec is not None


def test_stream_lives_through_a_restart_of_the_service(service: Service, client: Client) -> None:
    job = client.submit(SPEC)
    events = job.stream()
    first = next(events)

    service.stop()
    service.start()
    _drive(service, job.id)
    rest = list(events)

    seqs = [event.seq for event in (first, *rest)]
    assert seqs == list(range(1, len(seqs) + 1))
    assert rest[-1].data["state"] == "SUCCEEDED"


def test_stream_can_begin_behind_the_last_event(service: Service, client: Client) -> None:
    job = client.submit(SPEC)
    job.cancel()
    (*_, last) = job.stream()

    assert list(job.stream(last.seq)) == []
    assert list(job.stream(last.seq + 100)) == []
    assert list(job.stream(last.seq - 1)) == [last]


def test_job_can_be_stopped_and_go_on(client: Client) -> None:
    job = client.submit(SPEC)

    assert job.pause().state == JobState.PAUSED
    with pytest.raises(JobStopped):
        job.wait(60)
    assert job.resume().state == JobState.READY
    assert job.cancel().cancel().state == JobState.CANCELLED
    assert job.wait(60, stopped_ok=True).state == JobState.CANCELLED
    assert job.extend(9).generations == 9
    job.delete()
    with pytest.raises(NotFoundError):
        job.refresh()


def test_failed_job_raises_its_error(service: Service, client: Client) -> None:
    job = client.submit(SPEC)
    _drive(service, job.id, outcome=StoredState.FAILED)

    with pytest.raises(JobFailed, match="is FAILED: no data"):
        job.wait(60)


def test_wait_ends_at_its_timeout_while_the_stream_is_silent(client: Client) -> None:
    job = client.submit(SPEC)
    began = time.monotonic()

    with pytest.raises(WaitTimeout, match="is READY after 0.5 s"):
        job.wait(0.5)

    assert 0.5 <= time.monotonic() - began < 5


def test_submission_with_a_key_gives_one_job(client: Client) -> None:
    first = client.submit(SPEC, idempotency_key="nightly")
    second = client.submit(SPEC, idempotency_key="nightly")

    assert first.id == second.id
    with pytest.raises(InvalidRequestError) as caught:
        client.submit({**SPEC, "name": "other"}, idempotency_key="nightly")
    assert caught.value.code == "idempotency_mismatch"


def test_clone_changes_what_it_is_told(client: Client) -> None:
    job = client.submit(SPEC)

    clone = job.clone(name="again", search={"seed": 7})

    assert (clone.name, clone.refresh().spec["search"]["seed"]) == ("again", 7)  # type: ignore[index]
    assert job.clone().id not in (job.id, clone.id)


def test_refusals_are_the_errors_that_they_say(client: Client) -> None:
    job = client.submit(SPEC)
    job.cancel()

    with pytest.raises(ConflictError, match="CANCELLED") as conflict:
        job.pause()
    with pytest.raises(InvalidRequestError) as unknown:
        client.submit({**SPEC, "platforms": [{"name": "abacus"}]})
    with pytest.raises(InvalidRequestError) as state:
        next(client.list("ASLEEP"))
    with pytest.raises(NotFoundError):
        client.get("no such job")

    assert conflict.value.code == "conflict"
    assert unknown.value.code == "unknown_name"
    assert state.value.problem is not None
    assert state.value.problem.errors[0].pointer == "#query/state"
    assert unknown.value.problem is not None
    assert unknown.value.problem.errors[0].pointer == "/platforms/0/name"
    assert unknown.value.request_id == unknown.value.problem.request_id


def test_list_goes_through_all_pages(client: Client) -> None:
    made = [client.submit(SPEC).id for _ in range(55)]

    jobs = [job.id for job in islice(client.list("READY"), 55)]

    assert jobs == made[::-1]


def test_proxies_do_not_stand_between_a_client_and_its_own_machine(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with Client(service.url, retries=0) as client:
        assert client.knobs()


def test_catalogues_hold_what_there_is(client: Client) -> None:
    assert "sru-phones" in {item["name"] for item in client.workloads()}
    assert all(item["constants"] for item in client.platforms())
    assert "w_bits" in {item["name"] for item in client.knobs()}
    assert "error" in {item["name"] for item in client.metrics()}
    assert client.workers() == ()
