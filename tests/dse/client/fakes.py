"""A clock without waiting, answers by script, and a service in memory."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from dse.client import Client, Timing

Json = dict[str, Any]  # a JSON object
Reply = httpx.Response | httpx.TransportError

START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


class FakeClock:
    """Time that passes only in sleep."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    @property
    def timing(self) -> Timing:
        return Timing(
            now=lambda: self.seconds,
            wall=lambda: START + timedelta(seconds=self.seconds),
            sleep=self.sleep,
            jitter=lambda: 1.0,
        )


class Script:
    """Gives one reply after the other, the last one for ever, and keeps the requests."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if isinstance(reply, httpx.TransportError):
            raise reply
        return reply


@dataclass
class Parts(httpx.SyncByteStream):
    """A body in parts; `end` runs after the last one, and may raise."""

    parts: Iterable[bytes]
    end: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        self.end()


def client_of(
    handler: Callable[[httpx.Request], httpx.Response],
    clock: FakeClock | None = None,
    *,
    retries: int = 2,
) -> Client:
    return Client(
        "http://service",
        retries=retries,
        transport=httpx.MockTransport(handler),
        timing=(clock or FakeClock()).timing,
    )


def problem(status: int, code: str = "some_code", **fields: object) -> httpx.Response:
    body = {
        "type": f"/problems/{code}",
        "title": "A title",
        "status": status,
        "detail": "what was given and what is allowed",
        "instance": "/v1/jobs",
        "code": code,
        "errors": [],
        "request_id": "r-1",
        **fields,
    }
    headers = {"Content-Type": "application/problem+json", "X-Request-Id": "r-1"}
    return httpx.Response(status, content=json.dumps(body), headers=headers)


def job_data(job_id: str = "0190aa", **fields: object) -> Json:
    return {
        "id": job_id,
        "name": "a search",
        "state": "READY",
        "workload": "sru-phones",
        "priority": 0,
        "generation": -1,
        "generations": 3,
        "designs": 0,
        "networks_run": 0,
        "front_size": 0,
        "hypervolume": None,
        "attempt": 0,
        "crashes": 0,
        "cancel_requested": False,
        "pause_requested": False,
        "error": None,
        "float_metrics": None,
        "reference_point": None,
        "created_at": "2026-05-01T12:00:00Z",
        "updated_at": "2026-05-01T12:00:00Z",
        "finished_at": None,
        "version": 1,
        **fields,
    }


def evaluation_data(number: int, **fields: object) -> Json:
    return {
        "hash": f"{number:064x}",
        "generation": 2,
        "position": number,
        "design": {"w_bits": {"L0": 4, "FC": 8}, "a_bits": {"L0": 8, "FC": 8}},
        "metrics": {"error": 20.0 + number, "memory_mib": 0.125, "speedup": 10.5 + number},
        "feasible": True,
        "violation": 0.0,
        "origin": "base",
        "reason": None,
        "key": f"key{number}",
        **fields,
    }


WEIGHTS = b"weights of a beacon" * 100


def beacon_data(number: int, **fields: object) -> Json:
    return {
        "number": number,
        "generation": 3,
        "state": "READY",
        "hash": f"{number:064x}",
        "design": {"w_bits": {"L0": 4, "FC": 8}, "a_bits": {"L0": 8, "FC": 8}},
        "sha256": hashlib.sha256(WEIGHTS).hexdigest(),
        "size": len(WEIGHTS),
        "steps": 100,
        "seed": 1,
        "best_step": 50,
        "curve": [
            {"step": 0, "loss": None, "error": 30.0},
            {"step": 50, "loss": 1.5, "error": 21.5},
        ],
        "base_error": 30.0,
        "error": 21.5,
        "served": 4,
        "mean_gain": 7.25,
        "reason": None,
        "seconds": 9.5,
        **fields,
    }


def failed_beacon(number: int) -> Json:
    unknown = ("sha256", "size", "steps", "seed", "best_step", "error", "mean_gain", "seconds")
    return beacon_data(
        number, state="FAILED", reason="FAILED: loss is [nan]", curve=[], served=0
    ) | (dict.fromkeys(unknown))


def event_data(seq: int, kind: str = "generation.finished", **data: object) -> Json:
    return {"seq": seq, "kind": kind, "at": "2026-05-01T12:00:00Z", "data": data}


def generation_event(seq: int, generation: int) -> Json:
    return event_data(seq, generation=generation, front=generation + 1, hypervolume=0.5)


def state_event(seq: int, state: str, **data: object) -> Json:
    return event_data(seq, "job.state", state=state, attempt=1, **data)


def wire(event: Json) -> bytes:
    """An event as a server sends it."""
    return f"id: {event['seq']}\nevent: {event['kind']}\ndata: {json.dumps(event)}\n\n".encode()


def streamed(
    *parts: bytes, end: Callable[[], None] = lambda: None, kind: str = "text/event-stream"
) -> httpx.Response:
    return httpx.Response(200, headers={"Content-Type": kind}, stream=Parts(parts, end))


def pages(*all_items: list[Json]) -> list[httpx.Response]:
    last = len(all_items) - 1
    return [
        httpx.Response(
            200, json={"items": items, "next_page_token": None if i == last else f"token{i + 1}"}
        )
        for i, items in enumerate(all_items)
    ]


@dataclass
class FakeService:
    """Enough of the service to submit, watch and steer jobs. A watched job succeeds at once."""

    jobs: dict[str, Json] = field(default_factory=dict)
    events: dict[str, list[Json]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    outcome: str = "SUCCEEDED"
    front_items: list[Json] = field(
        default_factory=lambda: [evaluation_data(1), evaluation_data(2)]
    )

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        body = json.loads(request.content) if request.content else {}
        for (method, pattern), answer in _ROUTES.items():
            found = re.fullmatch(pattern, request.url.path)
            if found and method == request.method:
                known = found.groupdict()
                if "id" in known and known["id"] not in self.jobs:
                    return problem(404, "not_found", detail=f"unknown job {known['id']!r}")
                return answer(self, body, **known)
        return problem(404, "not_found")

    def submit(self, spec: Mapping[str, Any]) -> httpx.Response:  # JSON
        job_id = f"job{len(self.jobs):03}"
        generations = spec.get("search", {}).get("generations", 60)
        named = {"name": spec.get("name", ""), "workload": spec["workload"]["name"]}
        self.jobs[job_id] = job_data(job_id, generations=generations, spec=dict(spec), **named)
        self.events[job_id] = [state_event(1, "READY")]
        return self._view(202, job_id)

    def show(self, body: Json, id: str) -> httpx.Response:
        return httpx.Response(200, json=self.jobs[id])

    def jobs_page(self, body: Json) -> httpx.Response:
        shown = [{k: v for k, v in job.items() if k != "spec"} for job in self.jobs.values()]
        return pages(shown[::-1])[0]

    def follow(self, body: Json, id: str) -> httpx.Response:
        if self.requests[-1].headers["Accept"] != "text/event-stream":
            return pages([])[0]
        job, events = self.jobs[id], self.events[id]
        if job["state"] in ("READY", "LEASED"):
            for generation in range(job["generation"] + 1, job["generations"]):
                events.append(generation_event(len(events) + 1, generation))
            events.append(state_event(len(events) + 1, self.outcome))
            done = {"generation": job["generations"] - 1, "front_size": 2, "hypervolume": 0.5}
            job.update(done, state=self.outcome)
        after = int(self.requests[-1].headers["Last-Event-ID"])
        return streamed(*(wire(event) for event in events if event["seq"] > after))

    def front(self, body: Json, id: str) -> httpx.Response:
        objectives = ["error", "speedup"]
        page = {"items": self.front_items, "next_page_token": None, "objectives": objectives}
        return httpx.Response(200, json=page)

    def recost(self, body: Json, id: str) -> httpx.Response:
        if body["name"] not in ("zigzag", "psum-accelerator"):
            return problem(422, "unknown_name", detail=f"unknown platform {body['name']!r}")
        items = [
            {
                "hash": item["hash"],
                "generation": item["generation"],
                "position": item["position"],
                "costs": {"energy_uj": 2.5 if place else None},
                "reason": None if place else "layer L0: ZigZag took longer than 60 s",
            }
            for place, item in enumerate(self.front_items)
        ]
        page = {"items": items, "next_page_token": None, "platform": body["name"]}
        return httpx.Response(200, json=page)

    def evaluations(self, body: Json, id: str) -> httpx.Response:
        return pages([evaluation_data(i) for i in range(4)])[0]

    def baselines(self, body: Json, id: str) -> httpx.Response:
        return pages([evaluation_data(9, label="uniform w4a8")])[0]

    def beacons(self, body: Json, id: str) -> httpx.Response:
        return pages([beacon_data(1), failed_beacon(2)])[0]

    def weights(self, body: Json, id: str, number: str) -> httpx.Response:
        if number != "1":
            return problem(404, "not_found", detail=f"beacon {number} has no weights")
        digest = hashlib.sha256(WEIGHTS).hexdigest()
        return httpx.Response(200, content=WEIGHTS, headers={"ETag": f'"{digest}"'})

    def generations(self, body: Json, id: str) -> httpx.Response:
        counts = {"designs": 4, "measured": 3, "cached": 0, "screened": 1, "failed": 0}
        at = "2026-05-01T12:00:00Z"
        return pages([{"number": 0, "hypervolume": 0.5, "finished_at": at, **counts}])[0]

    def act(self, body: Json, id: str, action: str) -> httpx.Response:
        job = self.jobs[id]
        changes: dict[str, Json] = {
            "cancel": {"state": "CANCELLED"},
            "pause": {"state": "PAUSED"},
            "resume": {"state": "READY"},
            "extend": {"state": "READY", **body},
        }
        job.update(changes[action])
        return self._view(200, id)

    def _view(self, status: int, job_id: str) -> httpx.Response:
        shown = {k: v for k, v in self.jobs[job_id].items() if k != "spec"}
        return httpx.Response(status, json=shown)

    def clone(self, body: Json, id: str) -> httpx.Response:
        spec = self.jobs[id]["spec"]
        search = {**spec.get("search", {}), **body.get("search", {})}
        return self.submit({**spec, **body, "search": search})

    def delete(self, body: Json, id: str) -> httpx.Response:
        del self.jobs[id]
        return httpx.Response(204)

    def catalogue(self, body: Json, name: str) -> httpx.Response:
        return pages([{"name": f"one of the {name}"}])[0]


_JOB = "/v1/jobs/(?P<id>[^/:]+)"
_ROUTES: dict[tuple[str, str], Callable[..., httpx.Response]] = {
    ("POST", "/v1/jobs"): FakeService.submit,
    ("GET", "/v1/jobs"): FakeService.jobs_page,
    ("GET", _JOB): FakeService.show,
    ("DELETE", _JOB): FakeService.delete,
    ("GET", f"{_JOB}/events"): FakeService.follow,
    ("GET", f"{_JOB}/front"): FakeService.front,
    ("POST", f"{_JOB}/front:recost"): FakeService.recost,
    ("GET", f"{_JOB}/evaluations"): FakeService.evaluations,
    ("GET", f"{_JOB}/baselines"): FakeService.baselines,
    ("GET", f"{_JOB}/beacons"): FakeService.beacons,
    ("GET", f"{_JOB}/beacons/(?P<number>[0-9]+)/weights"): FakeService.weights,
    ("GET", f"{_JOB}/generations"): FakeService.generations,
    ("POST", f"{_JOB}:clone"): FakeService.clone,
    ("POST", f"{_JOB}:(?P<action>cancel|pause|resume|extend)"): FakeService.act,
    ("GET", "/v1/(?P<name>workloads|platforms|knobs|metrics|workers)"): FakeService.catalogue,
}
