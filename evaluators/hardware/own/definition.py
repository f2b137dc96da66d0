"""What a platform file says: an array, its throughput by widths, buffers, energies, areas.

Every figure is a constant with value, unit and source. Values are kept as fractions, so that
pJ/byte and pJ/bit give the same figure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from sys import float_info
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from dse.design import content_hash
from dse.errors import SpecError
from dse.knobs import BITS, KNOBS
from dse.spec import explain
from evaluators.hardware.constants import Constant
from evaluators.hardware.own.units import MODEL_UNITS, converted

Dataflow = Literal["ws", "is", "os"]

_KEYS: Final = ("value", "unit", "source")
_LONGEST_SOURCE: Final = 500


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Figure(_Part):
    """A constant as it was given."""

    value: float
    unit: str
    source: str

    def of(self, kind: str) -> Fraction:
        return converted(_fraction(self.value), self.unit, kind)


def _fraction(value: float) -> Fraction:
    return Fraction(str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Constant:
    """Checks a constant before it becomes a Figure.

    Attributes:
        kind: of its unit.
        least, most: in the units of the model.
        whole: only whole numbers are allowed.
    """

    kind: str
    least: float
    most: float
    whole: bool = False

    def __call__(self, given: object) -> object:
        if isinstance(given, Figure):
            return given
        if not isinstance(given, Mapping):
            raise ValueError(f"a constant is {{value, unit, source}}, got {given!r:.60}")
        told = [f"{key} is missing" for key in _KEYS if given.get(key) in (None, "")]
        told += [f"{key!r:.60} is unknown" for key in given if key not in _KEYS]
        if any(value is None for value in given.values()):
            told.append("a text with a comma needs quotes")
        if told:
            raise ValueError(f"a constant has value, unit and source: {', '.join(told)}")
        unit, source = str(given["unit"]), given["source"]
        if not isinstance(source, str) or not source.strip() or len(source) > _LONGEST_SOURCE:
            raise ValueError(
                f"source must be a text of 1 to {_LONGEST_SOURCE} characters, got {source!r:.60}"
            )
        self._check_value(given["value"], unit)
        return {**given, "unit": unit}

    def _check_value(self, value: object, unit: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"value must be a number, got {value!r:.60}")
        if not 0 <= value <= float_info.max:  # NaN too
            raise ValueError(f"value must be finite and not negative, got {value!r:.60}")
        figure = converted(_fraction(float(value)), unit, self.kind)
        if not self.least <= figure <= self.most:
            unit_of_model = MODEL_UNITS[self.kind]
            raise ValueError(
                f"value must be {self.least:g} to {self.most:g} {unit_of_model}, "
                f"got {value} {unit}"
            )
        if self.whole and figure.denominator != 1:
            raise ValueError(f"value must be a whole number, got {value} {unit}")


def _rate(figure: Figure) -> Figure:
    rate = figure.of("rate")
    if rate.denominator != 1 and rate.numerator != 1:
        raise ValueError(
            "a rate must be a whole number of MAC/cycle, or of cycle/MAC, "
            f"got {figure.value} {figure.unit}"
        )
    return figure


_count = _Constant(kind="count", least=1, most=2**16, whole=True)
_width = _Constant(kind="width", least=1, most=64, whole=True)
_size = _Constant(kind="size", least=1, most=2**50, whole=True)
_bandwidth = _Constant(kind="bandwidth", least=1e-3, most=2**40)
_clock = _Constant(kind="clock", least=1e-3, most=1e6)
_power = _Constant(kind="power", least=0, most=1e9)
_area = _Constant(kind="area", least=0, most=1e12)
_energy = _Constant(kind="energy", least=0, most=1e9)
_bit_energy = _Constant(kind="energy per bit", least=0, most=1e9)
_any_rate = _Constant(kind="rate", least=2**-16, most=2**16)

Count = Annotated[Figure, BeforeValidator(_count)]
Width = Annotated[Figure, BeforeValidator(_width)]
Size = Annotated[Figure, BeforeValidator(_size)]
Bandwidth = Annotated[Figure, BeforeValidator(_bandwidth)]
Clock = Annotated[Figure, BeforeValidator(_clock)]
Power = Annotated[Figure, BeforeValidator(_power)]
Area = Annotated[Figure, BeforeValidator(_area)]
Energy = Annotated[Figure, BeforeValidator(_energy)]
BitEnergy = Annotated[Figure, BeforeValidator(_bit_energy)]
Rate = Annotated[Figure, BeforeValidator(_any_rate), AfterValidator(_rate)]


class Array(_Part):
    """Multipliers in rows and columns.

    Attributes:
        clock: needed where there is leakage.
        adder: energy of adding one bit of a partial sum outside of the multipliers.
        leakage: of the whole accelerator.
    """

    rows: Count
    columns: Count
    clock: Clock | None = None
    area: Area | None = Field(default=None, description="of one multiplier")
    adder: BitEnergy | None = None
    leakage: Power | None = None


class Speed(_Part):
    """What one multiplier does with operands of up to these widths."""

    w_bits: Annotated[int, Field(strict=True, ge=1, le=16)]
    a_bits: Annotated[int, Field(strict=True, ge=1, le=16)]
    rate: Rate
    energy: Energy

    @property
    def packed(self) -> int:
        """Products of one cycle."""
        return max(1, int(self.rate.of("rate")))

    @property
    def cycles(self) -> int:
        """Cycles of one product."""
        return max(1, int(1 / Fraction(self.rate.of("rate"))))

    def holds(self, w_bits: int, a_bits: int) -> bool:
        return w_bits <= self.w_bits and a_bits <= self.a_bits


class Buffer(_Part):
    """An on-chip memory."""

    size: Size
    read: BitEnergy
    write: BitEnergy
    bandwidth: Bandwidth
    area: Area | None = None


class Buffers(_Part):
    """One memory for each operand."""

    weights: Buffer
    activations: Buffer
    sums: Buffer


class Dram(_Part):
    """The memory outside; its bandwidth is for reads and writes together."""

    read: BitEnergy
    write: BitEnergy
    bandwidth: Bandwidth


class Definition(_Part):
    """An accelerator.

    Attributes:
        dataflow: what stays in the array: weights, inputs or outputs. Several: designs choose.
        double_buffered: half of the buffers of weights and activations is being filled.
        sums: width of partial sums where no knob says it.
        throughput: the fastest line that holds both widths counts, of equally fast ones the
            first; the widest of both must be held by one line.
        knobs: values that designs may choose; widths left out: all that `throughput` holds.
    """

    name: Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]{0,99}$")]
    summary: Annotated[str, Field(max_length=200)] = ""
    dataflow: Annotated[list[Dataflow], Field(min_length=1, max_length=3)]
    double_buffered: Annotated[bool, Field(strict=True)] = True
    sums: Width
    array: Array
    throughput: Annotated[list[Speed], Field(min_length=1, max_length=64)]
    buffers: Buffers
    dram: Dram
    knobs: dict[str, list[int | str]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _one_dataflow(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("dataflow"), str):
            return {**given, "dataflow": [given["dataflow"]]}
        return given

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(set(self.dataflow)) != len(self.dataflow):
            raise ValueError(f"dataflow must not repeat, got {self.dataflow}")
        if self.array.leakage is not None and self.array.clock is None:
            raise ValueError("array.leakage needs array.clock, to be energy in a cycle")
        w_bits, a_bits = self.widest
        if not any(speed.holds(w_bits, a_bits) for speed in self.throughput):
            raise ValueError(
                f"throughput must have a line that holds the widest operands together: w_bits "
                f"{w_bits} and a_bits {a_bits}"
            )
        areas = self.areas
        if any(areas.values()) and not all(areas.values()):
            missing = [place for place, figure in areas.items() if figure is None]
            raise ValueError(f"area must be given everywhere or nowhere, missing: {missing}")
        self._check_knobs()
        return self

    def _check_knobs(self) -> None:
        offered = self.taken
        for knob, values in self.knobs.items():
            if knob not in offered:
                raise ValueError(f"knobs: {knob!r} must be one of {', '.join(offered)}")
            allowed = offered[knob]
            for value in values:
                if value not in allowed:
                    told = ", ".join(map(str, allowed))
                    raise ValueError(f"knobs: {knob} must be of {told}, got {value!r:.60}")
            if not values or len(set(values)) != len(values):
                raise ValueError(f"knobs: {knob} needs values, each once, got {values}")

    @property
    def widest(self) -> tuple[int, int]:
        """Weights and activations."""
        return (
            max(speed.w_bits for speed in self.throughput),
            max(speed.a_bits for speed in self.throughput),
        )

    @property
    def taken(self) -> dict[str, tuple[int | str, ...]]:
        """Return the knobs that a file may name -> the values that are possible."""
        w_bits, a_bits = self.widest
        narrow = tuple(bits for bits in BITS if bits <= w_bits)
        found: dict[str, tuple[int | str, ...]] = {
            "w_bits": narrow,
            "a_bits": tuple(bits for bits in BITS if bits <= a_bits),
        }
        for knob in ("psum_bits", "psum_group"):
            if knob in KNOBS:
                found[knob] = KNOBS[knob].choices
        return found

    @property
    def areas(self) -> dict[str, Figure | None]:
        """Return where an area belongs -> what was given: of one multiplier, and of buffers."""
        buffers = {f"buffers.{name}.area": buffer.area for name, buffer in self.buffers}
        return {"array.area": self.array.area, **buffers}

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all that it says."""
        return content_hash(self.model_dump(mode="json"))

    def constants(self) -> Iterator[Constant]:
        """Yield every figure as it was given."""
        yield from _constants("", self)


def _constants(name: str, part: object) -> Iterator[Constant]:
    if isinstance(part, Figure):
        yield Constant(name=name, value=part.value, unit=part.unit, source=part.source)
    elif isinstance(part, Speed):
        at = f"{name.rpartition('.')[0]}.w{part.w_bits}a{part.a_bits}"
        yield from _constants(f"{at}.rate", part.rate)
        yield from _constants(f"{at}.energy", part.energy)
    elif isinstance(part, BaseModel):
        for key, value in part:
            yield from _constants(f"{name}.{key}" if name else key, value)
    elif isinstance(part, Sequence) and not isinstance(part, str):
        for i, value in enumerate(part):
            yield from _constants(f"{name}.{i}", value)


def definition(data: Mapping[str, object], *, origin: str) -> Definition:
    """Check what a file says.

    Args:
        origin: what errors call it.

    Raises:
        SpecError: naming the file, each key, what was given and what is allowed.
    """
    try:
        return Definition.model_validate(data)
    except ValidationError as error:
        raise SpecError(f"{origin} is no platform:\n{explain(error)}") from error
