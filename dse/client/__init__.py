from dse.client.client import Client
from dse.client.errors import (
    ClientError,
    ConflictError,
    InvalidRequestError,
    JobFailed,
    JobPoisoned,
    JobStopped,
    NotFoundError,
    ServerError,
    UnreachableError,
    WaitTimeout,
)
from dse.client.front import Front
from dse.client.jobs import Job
from dse.client.models import (
    Beacon,
    BeaconReading,
    BeaconState,
    CurvePoint,
    Evaluation,
    Event,
    FieldError,
    GenerationSummary,
    JobState,
    JobView,
    Problem,
    Recost,
)
from dse.client.retries import Timing

__all__ = [
    "Beacon",
    "BeaconReading",
    "BeaconState",
    "Client",
    "ClientError",
    "ConflictError",
    "CurvePoint",
    "Evaluation",
    "Event",
    "FieldError",
    "Front",
    "GenerationSummary",
    "InvalidRequestError",
    "Job",
    "JobFailed",
    "JobPoisoned",
    "JobState",
    "JobStopped",
    "JobView",
    "NotFoundError",
    "Problem",
    "Recost",
    "ServerError",
    "Timing",
    "UnreachableError",
    "WaitTimeout",
]
