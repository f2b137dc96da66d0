"""The one description of a search job, shared by client, API, CLI and worker.

A spec checks its own shape here; whether its names exist is `dse.catalogue.check`'s business.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    ValidationError,
    model_validator,
)

from dse.design import content_hash
from dse.errors import Place, SpecError
from dse.plain_yaml import load_mapping

MAX_BYTES = 1_000_000
_MAX_EXPLAINED = 20

Name = Annotated[str, Field(min_length=1, max_length=100)]
Count = Annotated[int, Field(strict=True)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


def _number_or_word(given: object) -> object:
    # a union's own messages would name both of its halves
    if isinstance(given, bool) or not isinstance(given, int | str):
        raise ValueError(f"a knob's value is a whole number or a word, got {given!r:.80}")
    if isinstance(given, str) and not 1 <= len(given) <= 100:
        raise ValueError(f"a word has 1 to 100 characters, got {given!r:.80}")
    return given


KnobValue = Annotated[StrictInt | StrictStr, BeforeValidator(_number_or_word)]
Params = dict[str, Any]  # checked by the workload or platform that takes them


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reference(_Part):
    """A workload or platform by name, with its parameters."""

    name: Name
    params: Params = Field(default_factory=dict)


class KnobLine(_Part):
    """What some layers may choose for one knob, numbers or words; later lines win."""

    knob: Name
    layers: Name = Field(
        default="*",
        description="glob over layer names, or @first or @last in order of execution",
    )
    choices: Annotated[list[KnobValue], Field(min_length=1, max_length=64)]
    tie: Name = Field(
        default="none",
        description="none: a gene per layer; all: one gene for the line's layers; a knob's name: "
        "that knob's gene at the same layer; any other name: one gene for all lines that say it",
    )

    @model_validator(mode="after")
    def _no_repeats(self) -> "KnobLine":
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"choices must not repeat, got {self.choices}")
        return self


class Constraint(_Part):
    """A bound on a metric; non-strict. `max_increase` counts from the unquantized network.
    No metric is ever negative, so neither is what it may be at most."""

    metric: Name
    max: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    min: Finite | None = None
    max_increase: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> "Constraint":
        given = [b for b in ("max", "min", "max_increase") if getattr(self, b) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a constraint has exactly one of max, min, max_increase, got {given or 'none'}"
            )
        return self


Baseline = Literal["uniform", "greedy"]


class Search(_Part):
    """How the space is searched; the defaults are MOHAQ's."""

    algorithm: Literal["nsga2", "random", "optuna-tpe", "optuna-nsga2", "optuna-gp"] = "nsga2"
    population: Annotated[Count, Field(ge=4, le=10_000)] = 40
    offspring: Annotated[Count, Field(ge=1, le=10_000)] = 10
    generations: Annotated[Count, Field(ge=1, le=100_000)] = 60
    seed: Annotated[Count, Field(ge=0, lt=2**63)] = 1
    baselines: list[Baseline] = Field(
        default=["uniform", "greedy"], description="what the front is held against"
    )
    seed_designs: list[Baseline] = Field(
        default=[], description="baselines whose front opens the first generation"
    )

    @model_validator(mode="after")
    def _seeds_are_baselines(self) -> "Search":
        for field in ("baselines", "seed_designs"):
            names = getattr(self, field)
            if len(set(names)) != len(names):
                raise ValueError(f"{field} must not repeat, got {names}")
        missing = set(self.seed_designs) - set(self.baselines)
        if missing:
            raise ValueError(
                f"seed_designs must be among baselines {self.baselines}, got {sorted(missing)}"
            )
        return self


class Gate(_Part):
    """What a cost must at least or at most be, strictly, for a design to use beacons."""

    min: Finite | None = None
    max: Finite | None = None

    @model_validator(mode="after")
    def _a_bound(self) -> "Gate":
        if self.min is None and self.max is None:
            raise ValueError("a gate has min, max or both, got neither")
        return self


class Beacons(_Part):
    """Retrained designs that speak for their neighbours (MOHAQ, arXiv 2108.01192)."""

    enabled: bool = False
    distance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        default=5.0, description="only a design farther than this from every beacon becomes one"
    )
    knob_weights: dict[Name, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default={"w_bits": 1.0},
        description="what one doubling of a knob at one layer counts in the distance; "
        "{w_bits: 1, a_bits: 1} counts activation bits too",
    )
    window: tuple[Finite, Finite] = Field(
        default=(3.0, 60.0),
        description="points above the float error between which a design uses beacons",
    )
    gates: dict[Name, Gate] = Field(
        default={}, description="what a design's costs must be for it to use beacons"
    )
    prefer: Name | None = Field(
        default=None,
        description="the cost by which the best eligible design is made a beacon first; "
        "left out: in the order in which they were proposed, the latest generation's first",
    )
    max_beacons: Annotated[Count, Field(ge=1, le=100)] = Field(
        default=4, description="retrainings of the whole search, failed ones too"
    )
    spacing: Annotated[Count, Field(ge=1, le=100_000)] = Field(
        default=1,
        description="generations from one that makes beacons to the next that may, of the "
        "designs of all generations between",
    )
    at_once: Annotated[Count, Field(ge=1, le=100)] = Field(
        default=100, description="beacons that one generation makes at most"
    )
    neighbours: Annotated[Count, Field(ge=1, le=16)] = Field(
        default=1, description="on how many of the nearest beacons a design is run"
    )
    steps: Annotated[Count, Field(ge=1, le=1_000_000)] = 150
    learn_exponents: bool = Field(
        default=False,
        description="exponents of partial sums are learned with the weights; else they follow the "
        "largest sums",
    )
    timeout_s: Annotated[float, Field(gt=0, le=604_800, allow_inf_nan=False)] = Field(
        default=3600.0, description="of one retraining"
    )

    @model_validator(mode="after")
    def _usable(self) -> "Beacons":
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window must be [low, high] with low < high, got {self.window}")
        if not any(self.knob_weights.values()):
            raise ValueError(f"knob_weights must count some knob, got {self.knob_weights}")
        return self


class EvaluationSettings(_Part):
    """Where and how long designs are measured."""

    pool: Literal["processes", "inline"] = "processes"
    timeout_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 600.0
    memory_mib: Annotated[float, Field(ge=100, allow_inf_nan=False)] | None = Field(
        default=None, description="resident memory of one evaluation process, at most"
    )
    cache: bool = Field(default=True, description="use what other jobs have measured")


class JobSpec(_Part):
    """A search job."""

    name: Annotated[str, Field(max_length=200)] = ""
    workload: Reference
    platforms: Annotated[list[Reference], Field(min_length=1, max_length=8)]
    knobs: Annotated[list[KnobLine], Field(min_length=1, max_length=1000)]
    objectives: Annotated[list[Name], Field(min_length=1, max_length=4)]
    constraints: Annotated[list[Constraint], Field(max_length=50)] = Field(default=[])
    totals: dict[Name, Annotated[list[Name], Field(min_length=1)]] = Field(default_factory=dict)
    reference_point: dict[Name, Finite] | None = None
    search: Search = Search()
    beacons: Beacons = Beacons()
    evaluation: EvaluationSettings = EvaluationSettings()
    priority: Annotated[Count, Field(ge=-1000, le=1000)] = 0

    @model_validator(mode="after")
    def _consistent(self) -> "JobSpec":
        if len(set(self.objectives)) != len(self.objectives):
            raise ValueError(f"objectives must not repeat, got {self.objectives}")
        names = [platform.name for platform in self.platforms]
        if len(set(names)) != len(names):
            raise ValueError(f"platforms must not repeat, got {names}")
        point = self.reference_point
        if point is not None and set(point) != set(self.objectives):
            raise ValueError(
                f"reference_point must name exactly the objectives {self.objectives}, "
                f"got {sorted(point)}"
            )
        _refuse_contradictions(self.constraints)
        return self

    def digest(self) -> str:
        """Return what names equal searches: SHA-256 of all that may change their results."""
        told = self.model_dump(mode="json", exclude={"name", "priority", "evaluation"})
        if not self.beacons.enabled:
            told["beacons"] = {"enabled": False}
        elif not self.beacons.learn_exponents:
            del told["beacons"]["learn_exponents"]  # older searches have the same name
        return content_hash(told)


def parse_spec(text: str | bytes) -> JobSpec:
    """Read a spec from YAML or JSON.

    Raises:
        SpecError: naming the field, what was given and what is allowed.
    """
    return spec_from_data(load_mapping(text, what="job spec", max_bytes=MAX_BYTES))


def read_spec(path: Path) -> JobSpec:
    """Read a spec file; errors as `parse_spec`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SpecError(f"cannot read {path}: {error.strerror}") from error
    return parse_spec(text)


def spec_from_data(data: object) -> JobSpec:
    """Make a spec from plain data; errors as `parse_spec`."""
    try:
        return JobSpec.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"the job spec does not hold:\n{explain(error)}") from error


def explain(error: ValidationError) -> str:
    """Say line by line which field is wrong, what was given and what is allowed; of very many
    the first ones."""
    lines, items = [], complaints(error)
    for place, message, given in items[:_MAX_EXPLAINED]:
        shown = "" if isinstance(given, dict | list | BaseModel) else f", got {given!r:.80}"
        told = ".".join(str(part) for part in place) or "(whole)"
        lines.append(f"  {told}: {message}{shown if 'got' not in message else ''}")
    if len(items) > _MAX_EXPLAINED:
        lines.append(f"  and {len(items) - _MAX_EXPLAINED} more")
    return "\n".join(lines)


def complaints(error: ValidationError) -> list[tuple[Place, str, Any]]:
    """Return where something is wrong, what, and what was given; of unknown fields of a job spec
    also which there are."""
    found = []
    for item in error.errors(include_url=False):
        place, message = item["loc"], item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden" and error.title == JobSpec.__name__:
            fields = ", ".join(_model_at(place[:-1]).model_fields)
            message = f"no such field, got {place[-1]!r:.80}; allowed: {fields}"
        elif item["type"] == "model_type":
            message = f"must be a mapping, got {item['input']!r:.80}"
        found.append((place, message, item["input"]))
    return found


def _model_at(place: Place) -> type[BaseModel]:
    model: type[BaseModel] = JobSpec
    for part in place:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        if field is not None:
            model = next(_models_in(field.annotation), model)
    return model


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _refuse_contradictions(constraints: list[Constraint]) -> None:
    for metric in {constraint.metric for constraint in constraints}:
        here = [c for c in constraints if c.metric == metric]
        low = max((c.min for c in here if c.min is not None), default=None)
        high = min((c.max for c in here if c.max is not None), default=None)
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"constraints contradict each other: {metric} at least {low} and at most {high}"
            )
