"""What routes are given: the services, and the parts of a request that many routes read."""

import re
from dataclasses import dataclass
from typing import Annotated, Final, TypedDict

from fastapi import Depends, Header, Path, Query, Request
from sqlalchemy import Engine

from api.bootstrap import RegistryCatalogue
from api.errors import Code, Refusal
from api.events import Hub
from api.run_documents import RunDocuments
from api.settings import Settings
from dse.errors import UnknownNameError
from storage.repositories import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What the application is made of."""

    settings: Settings
    engine: Engine
    catalogue: RegistryCatalogue
    hub: Hub
    documents: RunDocuments


class State(TypedDict):
    """What the lifespan hands to every request."""

    services: Services


def _services(request: Request) -> Services:
    services: Services = request.state.services
    return services


_ID: Final = re.compile(r"[0-9a-f]{1,64}")


def _job_id(job_id: Annotated[str, Path(description="id of the job")]) -> str:
    # What cannot be an id never reaches a database, which may refuse some of its characters.
    if not _ID.fullmatch(job_id):
        raise UnknownNameError("job", job_id, ["ids as GET /v1/jobs lists them"])
    return job_id


ServicesDep = Annotated[Services, Depends(_services)]
JobId = Annotated[str, Depends(_job_id)]
PageToken = Annotated[
    str | None, Query(max_length=500, description="next_page_token of the page before")
]
IfMatch = Annotated[
    str | None,
    Header(description="ETag of the job as you know it; any other: 412", max_length=200),
]
IfNoneMatch = Annotated[
    str | None, Header(description="ETag of the answer you have; the same: 304", max_length=500)
]


def etag(job: Job) -> str:
    """Return the strong ETag of a job: its version."""
    return f'"{job.version}"'


def names_etag(header: str | None, tag: str) -> bool:
    """Tell whether an If-None-Match header names `tag`; weakly, as RFC 9110 has it."""
    listed = [part.strip().removeprefix("W/") for part in (header or "").split(",")]
    return "*" in listed or tag in listed


def refuse_stale(job: Job, if_match: str | None) -> None:
    """Raise unless an If-Match header is absent or names the job's version.

    Raises:
        Refusal: the job has changed.
    """
    listed = [part.strip() for part in (if_match or "*").split(",")]
    if "*" not in listed and etag(job) not in listed:
        raise Refusal(
            Code.STALE, f"job {job.id} is at version {etag(job)}, If-Match names {if_match}"
        )
