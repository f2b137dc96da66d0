"""What an exported design's JSON file says: what its codes mean and where they come from.

    code = clamp(round(codes_per_unit * real) + zero_point, low, high)
    real = scale * (code - zero_point)

rounding half to even. A weight whose output channels (its first dimension) have scales of their
own has a list of them. Products are of what is in brackets; weights have the zero point 0.

Where a layer has `sums`, the sum of its products is not kept whole but stored between two tiles of
`tile` elements of the reduction, at step t as

    code = clamp((sum + (1 << e >> 1)) >> e, -2^(bits-1), 2^(bits-1) - 1), in units of 2^e

At t = 0, group, 2 group, … and at the last tile, sum is all that is stored and the tile's product,
e = sum_exponents[t], and the code takes the place of all that is stored; elsewhere sum is the
tile's product alone, e = tile_exponents[t], and the code is stored beside the others. The
reduction of a convolution is ordered by (channel tile, place in the kernel, channel in the tile).
"""

import json
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dse.design import Design, Value, content_hash
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.spec import explain
from evaluators.arithmetic.psum_maxima import PsumUnits
from evaluators.quantizers.fixed_point import FIXED_POINT_BITS
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.partial_sums import Summation
from evaluators.quantizers.scheme import ALL, ASYMMETRIC, CHANNEL, TENSOR, PartialSums

FORMAT: Final = "beacon-dse export"
VERSION: Final = 3
"""Of an export's two files; raised whenever an older reader would misread them. Version 1, which
has no zero points, lists of scales and dynamic products, and 2, which has no partial sums, are
read as well."""

_READABLE: Final = (1, 2, VERSION)

_DIGEST = Field(pattern="^[0-9a-f]{64}$")
_Scale = Annotated[float, Field(ge=0)]
_Exponent = Annotated[int, Field(ge=0, le=31)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Named(_Part):
    """A workload or platform by name."""

    name: str
    params: dict[str, Any]  # JSON data, of each its own


class Codes(_Part):
    """The integer codes of one tensor.

    Attributes:
        scale: real value of one code, 0 for a tensor that is zero everywhere; or a list of them,
            one an output channel.
        codes_per_unit: 1 / scale, from which the scale is computed; a list as `scale` is.
    """

    bits: int
    scale: float | list[float]
    codes_per_unit: _Scale | list[_Scale]
    zero_point: int = 0
    low: int
    high: int

    @model_validator(mode="after")
    def _consistent(self) -> "Codes":
        if self.bits not in KNOBS["w_bits"].choices:
            raise ValueError(f"bits must be one of {KNOBS['w_bits'].choices}, got {self.bits}")
        half = 2 ** (self.bits - 1)
        if (self.low, self.high) != (-half, half - 1):
            raise ValueError(
                f"{self.bits} bits have codes {-half} .. {half - 1}, got {self.low} .. {self.high}"
            )
        if not self.low <= self.zero_point <= self.high:
            raise ValueError(
                f"zero_point must lie in {self.low} .. {self.high}, got {self.zero_point}"
            )
        if self.scale != (self.grid.step if self.whole else list(self.channels.steps)):
            raise ValueError(f"scale must be 1 / codes_per_unit, got {self.scale}")
        return self

    @property
    def whole(self) -> bool:
        """Whether one scale holds for the whole tensor."""
        return not isinstance(self.codes_per_unit, list)

    @property
    def grid(self) -> Grid:
        """Of a tensor with one scale."""
        if isinstance(self.codes_per_unit, list):
            raise ValueError("codes_per_unit must be one figure here, got a list")
        return Grid(scale=self.codes_per_unit, low=self.low, high=self.high, zero=self.zero_point)

    @property
    def channels(self) -> ChannelGrid:
        """Of a weight with a scale an output channel."""
        if not isinstance(self.codes_per_unit, list):
            raise ValueError("codes_per_unit must be a list here, got one figure")
        return ChannelGrid(scales=tuple(self.codes_per_unit), low=self.low, high=self.high)


class Sums(_Part):
    """How partial sums are stored.

    Attributes:
        tile: elements of the reduction to a partial sum.
        bits: width of a stored code.
        group: tiles from one fold to the next, or "all": folds at both ends alone.
        tile_exponents, sum_exponents: one a tile; of tiles beyond them, which products of two
            activations may have, the last.
    """

    tile: int = Field(ge=1)
    bits: int
    group: int | Literal["all"]
    tile_exponents: list[_Exponent] = Field(min_length=1)
    sum_exponents: list[_Exponent] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> "Sums":
        for knob, found in (("psum_bits", self.bits), ("psum_group", self.group)):
            if found not in KNOBS[knob].choices:
                raise ValueError(f"{knob} must be one of {KNOBS[knob].choices}, got {found}")
        if len(self.tile_exponents) != len(self.sum_exponents):
            raise ValueError(
                f"tile_exponents and sum_exponents must be as many, got "
                f"{len(self.tile_exponents)} and {len(self.sum_exponents)}"
            )
        return self

    @classmethod
    def of(cls, summation: Summation) -> "Sums":
        """Return what a summation says."""
        sums = summation.sums
        return cls(
            tile=sums.tile,
            bits=sums.bits,
            group="all" if sums.group == ALL else sums.group,
            tile_exponents=list(summation.units.tiles),
            sum_exponents=list(summation.units.sums),
        )

    @property
    def summation(self) -> Summation:
        """The summation that says this."""
        group = ALL if isinstance(self.group, str) else self.group
        return Summation(
            sums=PartialSums(tile=self.tile, bits=self.bits, group=group),
            units=PsumUnits(tiles=tuple(self.tile_exponents), sums=tuple(self.sum_exponents)),
        )


class QuantizedLayer(_Part):
    """A product: what its codes mean.

    Attributes:
        weights: of the stored weights; None where both operands are activations.
        inputs: of the input activations.
        second: of the second operand where both are activations.
        product_dtype: float type that held the integer sums exactly; None where it depends on
            how many there are: both are activations.
        sums: how partial sums are stored; None: sums are exact.
    """

    weights: Codes | None = None
    inputs: Codes
    second: Codes | None = None
    product_dtype: str | None = None
    sums: Sums | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "QuantizedLayer":
        if (self.weights is None) == (self.second is None):
            raise ValueError("a layer must have either weights or a second operand")
        if not (self.inputs.whole and (self.second is None or self.second.whole)):
            raise ValueError("activations must have one scale, got a list")
        if self.weights is not None and self.weights.zero_point:
            raise ValueError(f"weights must have zero_point 0, got {self.weights.zero_point}")
        return self

    def told(self) -> dict[str, Value]:
        """Return what the codes tell of the design: knob -> value."""
        other = self.weights or self.second
        found: dict[str, Value] = {"a_bits": self.inputs.bits}
        if other is not None:
            found["w_bits"] = other.bits
        if self.weights is not None and not self.weights.whole:
            found["w_granularity"] = CHANNEL
        elif self.weights is not None and self.weights.bits != FIXED_POINT_BITS:
            found["w_granularity"] = TENSOR
        if self.inputs.zero_point:
            found["a_symmetry"] = ASYMMETRIC
        if self.sums is not None:
            found |= {"psum_bits": self.sums.bits, "psum_group": self.sums.group}
        return found


class Manifest(_Part):
    """What is known of an exported design.

    Attributes:
        network: SHA-256 over the workload's data and base weights.
        origin: whose weights these are: "base" or "beacon N".
        beacon: SHA-256 of the beacon weights; None for the base weights.
        metrics: as the job stored them.
        dtype: of everything outside the integer products.
        tensors: SHA-256 of the tensors' file.
        versions: distribution -> the one that wrote the files.
    """

    format: Literal["beacon-dse export"] = FORMAT
    version: Literal[1, 2, 3] = VERSION
    workload: Named
    network: str = _DIGEST
    platforms: list[Named]
    design: dict[str, dict[str, Value]]
    hash: str = _DIGEST
    origin: str
    beacon: str | None = Field(pattern="^[0-9a-f]{64}$")
    metrics: dict[str, float]
    dtype: str
    layers: dict[str, QuantizedLayer]
    tensors: str = _DIGEST
    versions: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if Design(self.design).hash != self.hash:
            raise ValueError(f"hash must be the design's, got {self.hash}")
        for name, layer in self.layers.items():
            for knob, found in layer.told().items():
                said = self.design.get(knob, {}).get(name, KNOBS[knob].neutral)
                if said != found:
                    raise ValueError(f"{knob} of {name} is {said} in design, {found} in layers")
        return self


def dump_manifest(manifest: Manifest) -> bytes:
    """Return the JSON file, with the SHA-256 of its fields as "digest"."""
    told = manifest.model_dump(mode="json")
    return json.dumps(told | {"digest": content_hash(told)}, indent=1).encode()


def load_manifest(document: bytes) -> Manifest:
    """Read a JSON file.

    Raises:
        SpecError: it is none, of another version, altered or contradicts itself.
    """
    try:
        told = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise SpecError(f"the manifest is no JSON document: {error}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise SpecError(f"the manifest must be a JSON object with format {FORMAT!r}")
    if told.get("version") not in _READABLE:
        allowed = " or ".join(map(str, _READABLE))
        raise SpecError(f"the manifest's version must be {allowed}, got {told.get('version')!r}")
    digest = told.pop("digest", None)
    if digest is None or digest != _digest(told):
        raise SpecError("the manifest is altered: its digest is not that of its other fields")
    try:
        return Manifest.model_validate_json(json.dumps(told))
    except ValidationError as error:
        raise SpecError(f"the manifest cannot be used:\n{explain(error)}") from error


def _digest(told: dict[str, Any]) -> str | None:
    try:
        return content_hash(told)
    except ValueError:  # NaN, which no JSON has
        return None
