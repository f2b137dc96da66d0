import json

import httpx
import pytest

from dse.client import Event, JobFailed, JobPoisoned, JobState, JobStopped, WaitTimeout
from tests.dse.client.fakes import (
    FakeClock,
    FakeService,
    Script,
    client_of,
    evaluation_data,
    generation_event,
    job_data,
    pages,
    streamed,
    wire,
)

SPEC = {
    "name": "a search",
    "workload": {"name": "sru-phones"},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [{"knob": "w_bits", "choices": [2, 4]}],
    "objectives": ["error", "speedup"],
    "search": {"generations": 3},
}


def test_job_has_the_fields_that_the_server_told() -> None:
    data = job_data(hypervolume=0.5, float_metrics={"error": 19.5}, later_field=1)

    job = client_of(Script(httpx.Response(200, json=data))).get("0190aa")

    assert (job.id, job.state, job.hypervolume) == ("0190aa", JobState.READY, 0.5)
    assert job.float_metrics == {"error": 19.5}
    assert job.created_at.utcoffset() is not None


def test_wait_returns_the_job_as_it_ended() -> None:
    job = client_of(FakeService()).submit(SPEC)
    told: list[Event] = []

    done = job.wait(on_event=told.append)

    assert done is job
    assert (job.state, job.generation, job.front_size) == (JobState.SUCCEEDED, 2, 2)
    assert [event.seq for event in told] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("state", "kind"), [("FAILED", JobFailed), ("POISONED", JobPoisoned)])
def test_wait_raises_what_became_of_a_failed_job(state: str, kind: type[JobFailed]) -> None:
    service = FakeService(outcome=state)
    job = client_of(service).submit(SPEC)
    service.jobs[job.id]["error"] = "the corpus cannot be read"

    with pytest.raises(JobFailed, match="job000 is .*: the corpus cannot be read") as caught:
        job.wait()

    assert type(caught.value) is kind
    assert caught.value.job is job


@pytest.mark.parametrize("state", ["CANCELLED", "PAUSED"])
def test_wait_returns_a_stopped_job_to_those_who_ask_for_it(state: str) -> None:
    job = client_of(FakeService(outcome=state)).submit(SPEC)

    with pytest.raises(JobStopped, match=f"job000 is {state}"):
        job.wait()

    assert job.wait(stopped_ok=True).state == state


class Endless:
    """A job that runs for ever, with a sign of life every two seconds."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.silences: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return httpx.Response(200, json=job_data(state="LEASED"))
        self.silences.append(request.extensions["timeout"]["read"])
        reply = streamed()
        reply.stream = _Ticks(self.clock, self.silences[-1])
        return reply


class _Ticks(httpx.SyncByteStream):
    def __init__(self, clock: FakeClock, silence_s: float) -> None:
        self._clock = clock
        self._silence_s = silence_s

    def __iter__(self):  # type: ignore[no-untyped-def]
        while self._silence_s > 2.0:
            self._clock.seconds += 2.0
            yield b": alive\n\n"
        self._clock.seconds += self._silence_s
        raise httpx.ReadTimeout("silence")


@pytest.mark.parametrize("timeout", [0.5, 7.0, 100.0])
def test_wait_ends_at_its_timeout_within_a_second(timeout: float) -> None:
    clock = FakeClock()
    server = Endless(clock)
    job = client_of(server, clock).get("0190aa")

    with pytest.raises(WaitTimeout, match=f"is LEASED after {timeout:g} s"):
        job.wait(timeout)

    assert timeout <= clock.seconds <= timeout + 1.0
    assert max(server.silences) <= 45.0


def test_wait_timeout_is_a_timeout_error_too() -> None:
    clock = FakeClock()

    with pytest.raises(TimeoutError):
        client_of(Endless(clock), clock).get("0190aa").wait(0)


def test_front_is_a_sequence_with_its_objectives() -> None:
    front = client_of(FakeService()).submit(SPEC).front()

    assert front.objectives == ("error", "speedup")
    assert [e.metrics["error"] for e in front] == [21.0, 22.0]


def test_front_of_an_earlier_generation_is_asked_for_by_number() -> None:
    empty = httpx.Response(200, json={"items": [], "next_page_token": None, "objectives": []})
    script = Script(httpx.Response(200, json=job_data()), empty)

    assert len(client_of(script).get("0190aa").front(0)) == 0
    assert script.requests[-1].url.query == b"generation=0"


def test_evaluations_are_read_page_by_page_when_they_are_needed() -> None:
    first, second = pages([evaluation_data(1), evaluation_data(2)], [evaluation_data(3)])
    script = Script(httpx.Response(200, json=job_data()), first, second)

    evaluations = client_of(script).get("0190aa").evaluations(feasible=True)

    assert next(evaluations).position == 1
    assert len(script.requests) == 2
    assert [e.position for e in evaluations] == [2, 3]
    queries = [request.url.query for request in script.requests[1:]]
    assert queries == [b"feasible=true", b"feasible=true&page_token=token1"]


def test_baselines_carry_their_labels_and_generations_their_counts() -> None:
    job = client_of(FakeService()).submit(SPEC)

    assert job.baselines()[0].label == "uniform w4a8"
    assert job.history()[0].measured == 3


def test_evaluation_that_costs_ruled_out_has_no_origin() -> None:
    screened = evaluation_data(1, feasible=None, violation=None, origin=None, key=None)
    script = Script(httpx.Response(200, json=job_data()), *pages([screened]))

    (evaluation,) = client_of(script).get("0190aa").evaluations()

    assert (evaluation.feasible, evaluation.origin) == (None, None)


def test_actions_change_the_job_in_place_and_keep_its_spec() -> None:
    job = client_of(FakeService()).submit(SPEC).refresh()
    spec = job.spec

    assert job.pause() is job
    assert job.state == JobState.PAUSED
    assert job.resume().state == JobState.READY
    assert job.extend(9).generations == 9
    assert job.cancel().state == JobState.CANCELLED
    assert job.spec is not None
    assert spec is not None
    assert job.spec["objectives"] == spec["objectives"]


def test_clone_is_another_job_with_some_fields_changed() -> None:
    job = client_of(FakeService()).submit(SPEC)

    clone = job.clone(name="other seed", search={"seed": 2})

    assert clone.id != job.id
    assert clone.refresh().spec == {
        **SPEC,
        "name": "other seed",
        "search": {"generations": 3, "seed": 2},
    }


def test_delete_removes_the_job() -> None:
    service = FakeService()

    client_of(service).submit(SPEC).delete()

    assert service.jobs == {}


def test_document_is_given_as_the_server_sent_it() -> None:
    document = {"job": {}, "spec": {}, "front": [], "hypervolume": [0.5]}
    script = Script(httpx.Response(200, json=job_data()), httpx.Response(200, json=document))

    assert client_of(script).get("0190aa").document() == document


def test_refresh_reads_the_job_again() -> None:
    later = job_data(state="LEASED", generation=1)
    script = Script(httpx.Response(200, json=job_data()), httpx.Response(200, json=later))
    job = client_of(script).get("0190aa")

    job.refresh()

    assert (job.state, job.generation) == (JobState.LEASED, 1)


def test_wait_outlives_a_server_that_restarts() -> None:
    service, calls = FakeService(), []

    def flaky(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        if len(calls) == 2:
            return streamed(wire(generation_event(2, 0)))
        if len(calls) in (3, 4, 5, 6):
            raise httpx.ConnectError("refused")
        return service(request)

    assert client_of(flaky).submit(SPEC).wait().state == JobState.SUCCEEDED


def test_a_front_is_costed_on_another_platform() -> None:
    service = FakeService()
    job = client_of(service).submit(SPEC)

    failed, good = job.recost("zigzag", {"constants": "interstellar-28"}, timeout=900)

    assert json.loads(service.requests[-1].content) == {
        "name": "zigzag",
        "params": {"constants": "interstellar-28"},
    }
    assert service.requests[-1].extensions["timeout"]["read"] == 900
    assert [r.hash for r in (failed, good)] == [e.hash for e in job.front()]
    assert (failed.costs, failed.reason) == (
        {"energy_uj": None},
        "layer L0: ZigZag took longer than 60 s",
    )
    assert (good.costs, good.reason) == ({"energy_uj": 2.5}, None)
