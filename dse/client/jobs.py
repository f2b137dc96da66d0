"""A job on the server, and all that can be asked of it."""

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self, final

from pydantic import PrivateAttr

from dse.client.downloads import save
from dse.client.errors import JobFailed, JobPoisoned, JobStopped, WaitTimeout
from dse.client.front import Front
from dse.client.models import (
    Beacon,
    Evaluation,
    Event,
    FrontPage,
    GenerationSummary,
    JobState,
    JobView,
    Json,
    Recost,
    RecostPage,
)
from dse.client.progress import ProgressLine
from dse.client.server import Server, quoted
from dse.client.stream import EventStream


@final
class Job(JobView):
    """A job: its fields as the server told them last, and its actions.

    Made by `Client`. Every method raises ClientError: NotFoundError once the job is deleted,
    ConflictError for an action that its state forbids.
    """

    _server: Server = PrivateAttr()

    @classmethod
    def of(cls, server: Server, data: Json) -> "Job":
        """Return the job that `server` described."""
        job = server.read(cls, data)
        job._server = server
        return job

    def refresh(self) -> Self:
        """Read the job's fields again."""
        return self._take(self._server.get(self._path()))

    def wait(
        self,
        timeout: float | None = None,
        *,
        progress: bool = True,
        on_event: Callable[[Event], None] | None = None,
        stopped_ok: bool = False,
    ) -> Self:
        """Wait until the job has ended, however often the connection breaks.

        Args:
            timeout: seconds; None: as long as it takes.
            progress: draw a line on stderr, if it is a terminal.
            on_event: called with each event of the job, from its first on.
            stopped_ok: return a job that was cancelled or paused, too.

        Returns:
            This job, refreshed: SUCCEEDED, or as `stopped_ok` says.

        Raises:
            JobFailed: it has FAILED; JobPoisoned: it is POISONED.
            JobStopped: it is CANCELLED or PAUSED.
            WaitTimeout: it has not ended; it runs on.
        """
        until = math.inf if timeout is None else self._server.timing.now() + timeout
        with ProgressLine(self, shown=progress) as line:
            for event in EventStream(self._server, self._path(), after=0, until=until):
                line.update(event)
                if on_event is not None:
                    on_event(event)
        return self.refresh()._checked(timeout, stopped_ok)

    def stream(self, after: int = 0) -> Iterator[Event]:
        """Yield the events behind number `after` as they happen, each once, until the job ends.

        A broken connection is opened again from the last event on.
        """
        return iter(EventStream(self._server, self._path(), after=after))

    def front(self, generation: int | None = None) -> Front:
        """Return the front as it is, or as it was after a generation."""
        data = self._server.get(self._path("/front"), {"generation": generation})
        page = self._server.read(FrontPage, data)
        return Front(page.items, objectives=page.objectives)

    def recost(
        self,
        platform: str,
        params: Mapping[str, object] | None = None,
        *,
        timeout: float = 3600.0,
    ) -> tuple[Recost, ...]:
        """Have the front costed on another platform, such as "zigzag"; nothing is stored.

        A design that the platform cannot cost says why; the rest goes on.

        Args:
            timeout: seconds that all of it may take.

        Returns:
            A record a design, by (generation, position).
        """
        body = {"name": platform, "params": dict(params or {})}
        data = self._server.post(self._path("/front:recost"), body, timeout=timeout)
        return self._server.read(RecostPage, data).items

    def baselines(self) -> tuple[Evaluation, ...]:
        """Return the uniform and greedy designs that the front is held against."""
        items = self._server.items(self._path("/baselines"))
        return tuple(self._server.read(Evaluation, item) for item in items)

    def evaluations(self, *, feasible: bool | None = None) -> Iterator[Evaluation]:
        """Yield every design that the search proposed, page by page, in its order."""
        asked = {"feasible": None if feasible is None else str(feasible).lower()}
        for item in self._server.items(self._path("/evaluations"), asked):
            yield self._server.read(Evaluation, item)

    def history(self) -> tuple[GenerationSummary, ...]:
        """Return what each finished generation did, in order."""
        items = self._server.items(self._path("/generations"))
        return tuple(self._server.read(GenerationSummary, item) for item in items)

    def beacons(self) -> tuple[Beacon, ...]:
        """Return the beacons, by number: designs whose retrained weights others are judged on."""
        items = self._server.items(self._path("/beacons"))
        return tuple(self._server.read(Beacon, item) for item in items)

    def download_beacon(self, number: int, path: str | Path) -> Path:
        """Write the weights of a beacon to a safetensors file and return its path.

        The file is complete and checked against its SHA-256, or what stood there before stays.

        Raises:
            NotFoundError: there is no such beacon, or it has no weights (any more).
            DseError: the file cannot be written.
        """
        response = self._server.send("GET", self._path(f"/beacons/{number:d}/weights"))
        return save(response, Path(path))

    def document(self) -> Json:
        """Return the whole run as one document, as `dse run --json` writes it."""
        return self._server.get(self._path("/document"))

    def cancel(self) -> Self:
        """Ask the job to end; what is measured is kept. `wait(stopped_ok=True)` sees it end."""
        return self._act("cancel")

    def pause(self) -> Self:
        """Ask the job to stop until it is resumed."""
        return self._act("pause")

    def resume(self) -> Self:
        """Let a paused, cancelled or failed job go on where it was."""
        return self._act("resume")

    def extend(self, generations: int) -> Self:
        """Let the job run to `generations` in all, more than it had."""
        return self._act("extend", {"generations": generations}).refresh()

    def clone(
        self, *, name: str | None = None, search: Mapping[str, object] | None = None
    ) -> "Job":
        """Submit a job with this one's spec, some fields of `search` changed."""
        told = {"name": name, "search": None if search is None else dict(search)}
        body = {field: value for field, value in told.items() if value is not None}
        return Job.of(self._server, self._server.create(self._path(":clone"), body))

    def delete(self) -> None:
        """Remove the job and its results; measurements stay for other jobs."""
        self._server.send("DELETE", self._path())

    def _act(self, action: str, body: Json | None = None) -> Self:
        path = self._path(f":{action}")
        return self._take(self._server.post(path, body))

    def _take(self, data: Json) -> Self:
        fresh = self._server.read(JobView, {"spec": self.spec, **data})
        self.__dict__.update(fresh.__dict__)
        return self

    def _checked(self, timeout: float | None, stopped_ok: bool) -> Self:
        told = f"job {self.id} is {self.state}" + (f": {self.error}" if self.error else "")
        if self.state == JobState.POISONED:
            raise JobPoisoned(told, self)
        if self.state == JobState.FAILED:
            raise JobFailed(told, self)
        if not self.state.ended:
            raise WaitTimeout(f"{told} after {timeout:g} s", self)
        if self.state != JobState.SUCCEEDED and not stopped_ok:
            raise JobStopped(told, self)
        return self

    def _path(self, rest: str = "") -> str:
        return f"{job_path(self.id)}{rest}"


def job_path(job_id: str) -> str:
    """Return where a job stands on the server."""
    return f"/v1/jobs/{quoted(job_id)}"
