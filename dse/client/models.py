"""What the server answers, typed. Fields that this version does not know are ignored."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from dse.design import Choices

Json = dict[str, Any]  # a JSON object as the server sent it


class JobState(StrEnum):
    """Where a job is in its life."""

    READY = "READY"
    LEASED = "LEASED"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    POISONED = "POISONED"

    @property
    def ended(self) -> bool:
        """Whether nothing happens to the job until someone asks for it."""
        return self not in (JobState.READY, JobState.LEASED)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class JobView(_Answer):
    """A job as the server told it.

    Attributes:
        generation: the last finished one, -1 before the first.
        generations: how many the spec asks for.
        designs: how many were proposed.
        networks_run: distinct designs whose network was run.
        hypervolume: of the front after the last generation.
        attempt: how often the job was taken by a worker.
        crashes: workers lost since the last progress.
        float_metrics, reference_point: fixed before generation 0; None until then.
        version: grows with each change.
        spec: the job spec as JSON data, which `dse.spec.spec_from_data` types; None until the
            job itself is read, by `Client.get` or `Job.refresh`.
    """

    id: str
    name: str
    state: JobState
    workload: str
    priority: int
    generation: int
    generations: int
    designs: int
    networks_run: int
    front_size: int
    hypervolume: float | None
    attempt: int
    crashes: int
    cancel_requested: bool
    pause_requested: bool
    error: str | None
    float_metrics: Mapping[str, float] | None
    reference_point: Mapping[str, float] | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    version: int
    spec: Json | None = None


class BeaconReading(_Answer):
    """What a design did on the weights of a beacon near it.

    Attributes:
        number: the beacon's.
        distance: between the two designs.
        error: %, on the search split.
    """

    number: int
    distance: float
    error: float


class Evaluation(_Answer):
    """A design with its figures.

    Attributes:
        hash: the design's name: equal designs have equal hashes.
        generation, position: where in its job it was proposed.
        design: knob -> layer -> value.
        metrics: figures by name, without the error if its costs ruled it out.
        feasible: None until its generation is concluded.
        violation: how far constraints are broken, 0 if they hold.
        origin: whose weights its metrics come from, "base" or "beacon N"; None if it was not
            measured.
        base_error: on the base weights, %.
        beacon: the best it did on beacon weights, better than the base or not; None if it was run
            on none.
        reason: why it is infeasible, if not for its constraints.
        key: content key of the measurement.
        label: name of a baseline, such as "uniform w4a4".
    """

    hash: str
    generation: int
    position: int
    design: Choices
    metrics: Mapping[str, float]
    feasible: bool | None
    violation: float | None
    origin: str | None
    base_error: float | None = None
    beacon: BeaconReading | None = None
    reason: str | None
    key: str | None
    label: str | None = None


class Recost(_Answer):
    """What another platform says of a design of the front.

    Attributes:
        hash: the design's name.
        costs: metric -> figure; None where the platform has none.
        reason: why a figure is missing, or the design is not taken.
    """

    hash: str
    generation: int
    position: int
    costs: Mapping[str, float | None]
    reason: str | None


class RecostPage(_Answer):
    """A front on another platform as the server lists it."""

    items: tuple[Recost, ...]
    platform: str


class FrontPage(_Answer):
    """A front as the server lists it."""

    items: tuple[Evaluation, ...]
    objectives: tuple[str, ...]


class GenerationSummary(_Answer):
    """A finished generation and what became of its designs."""

    number: int
    hypervolume: float
    designs: int
    measured: int
    cached: int
    screened: int
    failed: int
    finished_at: datetime


class BeaconState(StrEnum):
    """Whether a beacon's weights can be used: READY; FAILED, its retraining gave none; LOST,
    their file cannot be used any more."""

    READY = "READY"
    FAILED = "FAILED"
    LOST = "LOST"


class CurvePoint(_Answer):
    """How far a retraining was at one of its looks at the search split.

    Attributes:
        step: batches done.
        loss: mean since the look before; None at step 0.
        error: of the design, %.
    """

    step: int
    loss: float | None
    error: float


class Beacon(_Answer):
    """A design with weights retrained at it, on which its neighbours are judged too.

    Attributes:
        number: 1, 2, … within its job, in order of creation.
        generation: at whose end it was made.
        hash, design: of its design, as of an `Evaluation`.
        sha256, size: of the file of its weights, also when it is LOST; size in bytes.
        steps, seed, best_step, curve, seconds: of its retraining, as far as known; `best_step` is
            the one whose weights were kept.
        base_error, error: of its design on the base weights and on its own, %.
        served: how many designs of the search have their error from it.
        mean_gain: points by which their errors on the base weights are higher, on average.
        reason: why it FAILED or is LOST.
    """

    number: int
    generation: int
    state: BeaconState
    hash: str
    design: Choices
    sha256: str | None
    size: int | None
    steps: int | None
    seed: int | None
    best_step: int | None
    curve: tuple[CurvePoint, ...]
    base_error: float | None
    error: float | None
    served: int
    mean_gain: float | None
    reason: str | None
    seconds: float | None


class Event(_Answer):
    """Something that happened to a job; `seq` grows, `data` goes by `kind`."""

    seq: int
    kind: str
    at: datetime
    data: Json


class FieldError(_Answer):
    """One field that cannot be used; `pointer` is a JSON pointer into what was sent."""

    pointer: str
    detail: str


class Problem(_Answer):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    status: int
    detail: str = ""
    instance: str | None = None
    code: str | None = None
    errors: tuple[FieldError, ...] = Field(default=())
    request_id: str | None = None
