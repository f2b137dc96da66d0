"""The errors of the client.

ClientError (DseError)
├── UnreachableError (ConnectionError)  no answer: refused, timed out or broken off
├── InvalidRequestError (SpecError)     400, 413, 415, 422: what was sent cannot be used
├── NotFoundError (LookupError)         404, 410: no such job or page, or its file is gone
├── ConflictError                       409, 412: the job's state does not allow it
├── ServerError                         408, 429, 5xx, or an answer that is not beacon-dse's
├── JobFailed                           a job that was waited for has FAILED
│   └── JobPoisoned                     … or kept killing its workers
├── JobStopped                          a job that was waited for was cancelled or paused
└── WaitTimeout (TimeoutError)          a job that was waited for still runs

Any other status is a plain ClientError.
"""

from typing import TYPE_CHECKING

from dse.client.models import Problem
from dse.errors import DseError, SpecError

if TYPE_CHECKING:
    from dse.client.jobs import Job


class ClientError(DseError):
    """Base of every error of the client.

    Attributes:
        status: HTTP status; None if no server answered.
        code: the problem's code, such as "conflict"; None if the answer gave none.
        request_id: what the server's log calls the request.
        problem: the whole answer (RFC 9457), if it was a problem document.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        problem: Problem | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.request_id = request_id
        self.problem = problem

    @property
    def code(self) -> str | None:
        return None if self.problem is None else self.problem.code


class UnreachableError(ClientError, ConnectionError):
    """The server gave no answer."""


class InvalidRequestError(ClientError, SpecError):
    """What was sent cannot be used; `problem.errors` names each field by its JSON pointer."""


class NotFoundError(ClientError, LookupError):
    """The server does not know it, or has it no more."""


class ConflictError(ClientError):
    """The job's state does not allow it."""


class ServerError(ClientError):
    """The server cannot answer, or not now."""


class _JobError(ClientError):
    """An error about a job as it stood last."""

    def __init__(self, message: str, job: "Job") -> None:
        super().__init__(message)
        self.job = job


class JobFailed(_JobError):
    """The job has failed; the message says why."""


class JobPoisoned(JobFailed):
    """The job killed its worker again and again."""


class JobStopped(_JobError):
    """The job was cancelled or paused before its end."""


class WaitTimeout(_JobError, TimeoutError):
    """The job has not ended in the time given; it runs on."""


def status_error(status: int, problem: Problem | None, request_id: str | None) -> ClientError:
    """Return the error of an answer that is neither 2xx nor a problem of the connection."""
    if problem is None:
        message = f"the server answered {status} without a problem document"
    else:
        lines = [problem.detail or problem.title]
        lines += [f"  {error.pointer}: {error.detail}" for error in problem.errors]
        message = "\n".join(lines)
    if status >= 500 and request_id is not None:
        message += f" (request {request_id})"
    return _kind(status)(message, status=status, request_id=request_id, problem=problem)


def _kind(status: int) -> type[ClientError]:
    if status in (400, 413, 415, 422):
        return InvalidRequestError
    if status in (404, 410):
        return NotFoundError
    if status in (409, 412):
        return ConflictError
    return ServerError if status in (408, 429) or status >= 500 else ClientError
