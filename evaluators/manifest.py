"""What an exported design's JSON file says: what its codes mean and where they come from.

    code = clamp(round(codes_per_unit * real), low, high)      real = scale * (code - zero_point)

rounding half to even.
"""

import json
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dse.design import Design, content_hash
from dse.errors import SpecError
from dse.knobs import KNOBS
from dse.spec import explain
from evaluators.quantizers.grid import Grid

FORMAT: Final = "beacon-dse export"
VERSION: Final = 1
"""Of an export's two files; raised whenever an older reader would misread them."""

_DIGEST = Field(pattern="^[0-9a-f]{64}$")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Named(_Part):
    """A workload or platform by name."""

    name: str
    params: dict[str, Any]  # JSON data, of each its own


class Codes(_Part):
    """The integer codes of one tensor.

    Attributes:
        scale: real value of one code; 0 for a tensor that is zero everywhere.
        codes_per_unit: 1 / scale, from which the scale is computed.
    """

    bits: int
    scale: float
    codes_per_unit: float = Field(ge=0)
    zero_point: Literal[0] = 0
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
        if self.scale != self.grid.step:
            raise ValueError(f"scale must be 1 / codes_per_unit, got {self.scale}")
        return self

    @property
    def grid(self) -> Grid:
        return Grid(scale=self.codes_per_unit, low=self.low, high=self.high)


class QuantizedLayer(_Part):
    """A product: what its codes mean.

    Attributes:
        product_dtype: float type that held the integer sums exactly.
    """

    weights: Codes
    inputs: Codes
    product_dtype: str


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
    version: Literal[1] = VERSION
    workload: Named
    network: str = _DIGEST
    platforms: list[Named]
    design: dict[str, dict[str, int]]
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
            for knob, codes in (("w_bits", layer.weights), ("a_bits", layer.inputs)):
                told = self.design.get(knob, {}).get(name, KNOBS[knob].neutral)
                if told != codes.bits:
                    raise ValueError(
                        f"{knob} of {name} is {told} in design, {codes.bits} in layers"
                    )
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
    if told.get("version") != VERSION:
        raise SpecError(f"the manifest's version must be {VERSION}, got {told.get('version')!r}")
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
