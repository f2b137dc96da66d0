"""What goes over the wire: one model for each thing that REST answers."""

from datetime import datetime
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from dse.design import Value
from storage.beacons import BeaconState
from storage.tables import JobState

Item = TypeVar("Item")


class View(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Page(BaseModel, Generic[Item]):
    """Part of a list."""

    items: list[Item]
    next_page_token: str | None = Field(
        default=None, description="page_token of the page behind this one; null: there is none"
    )


class JobView(View):
    """A job as it stands."""

    id: str = Field(examples=["019aa7b2c4d0f3a19c0b5e7d2f4a6b8c"])
    name: str = Field(examples=["quick speech on bitfusion"])
    state: JobState
    workload: str = Field(examples=["sru-phones"])
    priority: int
    generation: int = Field(description="the last finished one, -1 before the first")
    generations: int = Field(description="how many there shall be")
    designs: int = Field(description="proposed in finished generations")
    networks_run: int = Field(description="of these, how many networks were run or recalled")
    front_size: int
    hypervolume: float | None = Field(description="of the front, null before generation 0")
    attempt: int = Field(description="how often a worker has taken the job")
    crashes: int = Field(description="workers lost since anything was stored last")
    cancel_requested: bool
    pause_requested: bool
    error: str | None
    float_metrics: dict[str, float] | None = Field(description="of the unquantized network")
    reference_point: dict[str, float] | None = Field(description="of hypervolumes")
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    version: int = Field(description="grows with every change; the ETag")


class JobDetail(JobView):
    """A job with its spec."""

    spec: dict[str, Any]  # JSON data of `dse.spec.JobSpec`


class ReadingView(BaseModel):
    """What a design did on the weights of a beacon near it."""

    number: int = Field(description="the beacon's")
    distance: float = Field(description="between the two designs")
    error: float = Field(description="%, on the search split")


class EvaluationView(BaseModel):
    """A design with its metrics."""

    hash: str = Field(description="of the design")
    generation: int
    position: int = Field(description="within its generation")
    design: dict[str, dict[str, Value]] = Field(
        description="knob -> layer -> value", examples=[{"w_bits": {"L0": 4, "FC": 8}}]
    )
    metrics: dict[str, float] = Field(examples=[{"error": 21.4, "speedup": 18.2}])
    feasible: bool
    violation: float
    origin: str | None = Field(
        description='whose weights its metrics come from: "base" or "beacon N"; null: never run',
        examples=["base"],
    )
    base_error: float | None = Field(description="on the base weights, %")
    beacon: ReadingView | None = Field(
        description="the best it did on beacon weights, better than the base or not"
    )
    reason: str | None = Field(description="why it has no error or is not feasible")
    key: str | None = Field(description="names the measurement by its content")
    label: str | None = Field(default=None, description="of a baseline")


class Front(Page[EvaluationView]):
    """The front after a generation; never in parts."""

    objectives: list[str] = Field(examples=[["error", "speedup"]])


class PlatformNamed(BaseModel):
    """A platform by name, with its parameters."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, examples=["zigzag"])
    params: dict[str, str | int | float | bool] = Field(
        default={}, max_length=50, examples=[{"constants": "interstellar-28"}]
    )


class RecostView(BaseModel):
    """What another platform says of a design of the front."""

    hash: str = Field(description="of the design")
    generation: int
    position: int = Field(description="within its generation")
    costs: dict[str, float | None] = Field(
        description="null: the platform has no figure", examples=[{"energy_uj": 12.5}]
    )
    reason: str | None = Field(description="why a figure is missing, or the design is not taken")


class Recosts(Page[RecostView]):
    """The front on another platform; never in parts."""

    platform: str


class GenerationView(View):
    """A finished generation."""

    number: int
    hypervolume: float
    designs: int
    measured: int
    cached: int = Field(description="of the measured, how many the store could answer")
    screened: int = Field(description="ruled out by their costs")
    failed: int
    finished_at: datetime


class CurvePointView(BaseModel):
    """How far a retraining was at one of its looks at the search split."""

    step: int = Field(description="batches done")
    loss: float | None = Field(description="mean since the look before; null at step 0")
    error: float = Field(description="of the design, %")


class BeaconView(BaseModel):
    """A design with weights retrained at it, on which its neighbours are judged too."""

    number: int = Field(description="1, 2, … in order of creation")
    generation: int = Field(description="at whose end it was made")
    state: BeaconState = Field(
        description="READY; FAILED: retraining gave no weights; LOST: their file cannot be used"
    )
    hash: str = Field(description="of the design")
    design: dict[str, dict[str, Value]] = Field(description="knob -> layer -> value")
    sha256: str | None = Field(description="of the weights, also when they are lost")
    size: int | None = Field(description="of their file, bytes")
    steps: int | None = Field(description="batches of the retraining")
    seed: int | None
    best_step: int | None = Field(description="the step whose weights were kept")
    curve: list[CurvePointView]
    base_error: float | None = Field(description="of its design on the base weights, %")
    error: float | None = Field(description="of its design on its own weights, %")
    served: int = Field(description="designs of the search that have their error from it")
    mean_gain: float | None = Field(
        description="points by which their errors on the base weights are higher, on average"
    )
    reason: str | None = Field(description="why it FAILED or is LOST")
    seconds: float | None = Field(description="that the retraining took")


class EventView(View):
    """Something that happened to a job."""

    seq: int = Field(description="1, 2, … without a gap")
    kind: str = Field(examples=["generation.finished"])
    at: datetime
    data: dict[str, Any]  # JSON data, by kind


class WorkloadView(BaseModel):
    """A network that can be searched, or costed if it has no metrics."""

    name: str
    summary: str
    metrics: list[str]
    splits: list[str]
    trainable: bool = Field(description="beacons can be made")
    needs: str | None = Field(description="what must be given before it can be run here")
    params: dict[str, Any]  # of any JSON kind, by workload
    layers: dict[str, int] = Field(description="name -> weights")
    macs: int = Field(description="multiply-accumulates of one inference")


class ConstantView(BaseModel):
    """A constant of a platform with its source."""

    name: str
    value: float
    unit: str
    source: str


class PlatformView(BaseModel):
    """An accelerator."""

    name: str
    summary: str
    knobs: dict[str, list[Value]]
    metrics: list[str]
    params: dict[str, Any]  # of any JSON kind, by platform
    constants: list[ConstantView]


class KnobView(BaseModel):
    """One thing that a design chooses."""

    name: str
    choices: list[Value]
    neutral: Value
    unit: str
    meaning: str


class MetricView(BaseModel):
    """A figure that designs are judged by."""

    name: str
    unit: str
    goal: str = Field(description="min or max")
    meaning: str


class WorkerView(View):
    """A process that runs jobs."""

    id: str
    host: str
    pid: int
    slots: int
    versions: dict[str, str]
    registered_at: datetime
    last_seen: datetime


class Extension(BaseModel):
    """How long a job shall become."""

    model_config = ConfigDict(extra="forbid")

    generations: int = Field(
        strict=True, ge=1, le=100_000, description="altogether; more than there are", examples=[90]
    )


class Changes(BaseModel):
    """What a copy of a job shall have otherwise."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, max_length=200)
    search: dict[str, Any] = Field(  # fields of `dse.spec.Search`, checked there
        default={}, description="fields of the spec's search", examples=[{"seed": 2}]
    )


class Health(BaseModel):
    """The service is there."""

    status: str = Field(examples=["ok"])
