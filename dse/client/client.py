"""The client: where jobs are submitted and found."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, final

import httpx

from dse.client.jobs import Job, job_path
from dse.client.models import JobState, Json
from dse.client.retries import Timing
from dse.client.server import Server
from dse.spec import JobSpec, read_spec, spec_from_data

DEFAULT_URL = "http://127.0.0.1:8000"
URL_VARIABLE = "DSE_SERVER"


@final
class Client(AbstractContextManager["Client"]):
    """A connection to a beacon-dse service.

        with Client() as client:
            front = client.submit("search.yaml").wait().front()

    Args:
        base_url: of the service; left out: DSE_SERVER, or http://127.0.0.1:8000.
        timeout: seconds for each request.
        retries: how often a request that is safe to repeat is sent again when the connection
            fails or the server is overloaded; the pauses double and heed Retry-After.
        transport: what carries requests instead of the network.
        timing: the clock, for tests.

    Every method raises ClientError; `dse.client.errors` draws the tree.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 2,
        transport: httpx.BaseTransport | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._server = Server(
            base_url or os.environ.get(URL_VARIABLE) or DEFAULT_URL,
            timeout=timeout,
            retries=retries,
            transport=transport,
            timing=timing or Timing(),
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used again."""
        self._server.close()

    def submit(
        self,
        spec: JobSpec | Mapping[str, Any] | str | Path,  # plain data may be anything
        *,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a search.

        Args:
            spec: a spec, its plain data, or a YAML or JSON file that holds it.
            idempotency_key: a name for this submission: sent again, it gives the same job.
                Left out, each call has its own, which only its retries share.

        Raises:
            SpecError: the spec does not hold; found here, or (InvalidRequestError) there.
        """
        body = _read(spec).model_dump(mode="json", exclude_unset=True)
        data = self._server.create("/v1/jobs", body, idempotency_key=idempotency_key)
        return Job.of(self._server, data)

    def get(self, job_id: str) -> Job:
        """Return a job by its whole id."""
        return Job.of(self._server, self._server.get(job_path(job_id)))

    def list(self, state: JobState | str | None = None) -> Iterator[Job]:
        """Yield the jobs, of one state or all, the youngest first, page by page."""
        for item in self._server.items("/v1/jobs", {"state": state}):
            yield Job.of(self._server, item)

    def workloads(self) -> tuple[Json, ...]:
        """Return the networks that the server can search."""
        return self._catalogue("workloads")

    def platforms(self) -> tuple[Json, ...]:
        """Return its accelerators with their knobs, metrics and constants."""
        return self._catalogue("platforms")

    def knobs(self) -> tuple[Json, ...]:
        """Return what a design may choose."""
        return self._catalogue("knobs")

    def metrics(self) -> tuple[Json, ...]:
        """Return what a design is judged by."""
        return self._catalogue("metrics")

    def workers(self) -> tuple[Json, ...]:
        """Return the workers that hold jobs."""
        return self._catalogue("workers")

    def _catalogue(self, name: str) -> tuple[Json, ...]:
        return tuple(self._server.items(f"/v1/{name}"))


def _read(spec: JobSpec | Mapping[str, Any] | str | Path) -> JobSpec:
    if isinstance(spec, JobSpec):
        return spec
    if isinstance(spec, str | Path):
        return read_spec(Path(spec))
    return spec_from_data(dict(spec))
