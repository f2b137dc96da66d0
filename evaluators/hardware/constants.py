"""Constants of the cost models: data with units and sources, read from `platforms/*.yaml`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from dse.errors import SpecError


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One figure of an accelerator.

    Attributes:
        source: where the figure was read, or how it was reconstructed.
    """

    name: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Constants:
    """The constants of one platform, in the order of their file."""

    items: tuple[Constant, ...]

    def __iter__(self) -> Iterator[Constant]:
        return iter(self.items)

    def __contains__(self, name: str) -> bool:
        return any(constant.name == name for constant in self.items)

    def __add__(self, other: "Constants") -> "Constants":
        return Constants((*self.items, *other.items))

    def __getitem__(self, name: str) -> float:
        for constant in self.items:
            if constant.name == name:
                return constant.value
        raise KeyError(name)


def load_constants(platform: str) -> Constants:
    """Read the constants of a platform of this package.

    Raises:
        SpecError: a constant lacks its value, unit or source.
    """
    path = files("evaluators.hardware.platforms").joinpath(f"{platform}.yaml")
    return parse_constants(path.read_text(encoding="utf-8"), origin=f"{platform}.yaml")


def parse_constants(text: str, *, origin: str) -> Constants:
    """Parse a YAML mapping: name -> {value, unit, source}.

    Args:
        origin: what error messages call the text.

    Raises:
        SpecError: no YAML mapping, or a constant lacks its value, unit or source.
    """
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError(f"{origin} is no YAML: {error}") from error
    if not isinstance(raw, Mapping):
        raise SpecError(f"{origin} must map names to constants, got {type(raw).__name__}")
    return Constants(tuple(_constant(str(name), entry, origin) for name, entry in raw.items()))


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)

    value: FiniteFloat
    unit: str = Field(min_length=1)
    source: str = Field(min_length=1)


def _constant(name: str, entry: object, origin: str) -> Constant:
    try:
        checked = _Entry.model_validate(entry)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise SpecError(
            f"{origin}: constant {name!r} needs a finite value, a unit and a source; {faults}"
        ) from error
    return Constant(name=name, value=checked.value, unit=checked.unit, source=checked.source)
