"""An accelerator that stores partial sums between the tiles of a reduction, at chosen widths.

The array multiplies `pci` reduction elements at a time. A sum over more of them is made of partial
sums, one a tile; under dataflow ws and is they go to the buffer and back between two tiles (APSQ,
arXiv 2505.03748). The array's sides and the cost model are our reconstruction.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, final

import numpy as np

from dse.design import Design, Layer, NetworkShape, Value
from dse.errors import SpecError
from dse.knobs import BITS, KNOBS
from dse.ports import FloatArray, IntArray
from evaluators.hardware.choices import accepted_values, as_choices
from evaluators.hardware.constants import Constants, load_constants

_KNOBS: Final = ("psum_bits", "psum_group", "dataflow")
_MIB_BITS: Final = 8 * 2**20
_NARROW: Final = 8
"""Partial sums of wider operands are kept whole."""


def psum_accelerator(params: Mapping[str, object]) -> "PsumAccelerator":
    """Make the platform.

    Args:
        params: `pci`: reduction elements a tile, a positive integer, 8 by default.

    Raises:
        SpecError: another parameter, or one out of range.
    """
    unknown = ", ".join(sorted(set(params) - {"pci"}))
    if unknown:
        raise SpecError(f"platform 'psum-accelerator' takes the parameter pci only, got {unknown}")
    pci = params.get("pci", 8)
    if not isinstance(pci, int) or isinstance(pci, bool) or pci < 1:
        raise SpecError(
            f"platform 'psum-accelerator': pci must be a positive integer, got {pci!r}"
        )
    return PsumAccelerator(pci=pci, sheet=load_constants("psum-accelerator"))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PsumAccelerator:
    """A platform whose partial sums have a width and a group size.

    Attributes:
        pci: reduction elements that the array takes at a time.
        sheet: every figure of the model with its unit and source.
    """

    pci: int
    sheet: Constants

    name = "psum-accelerator"
    tied: tuple[tuple[str, ...], ...] = ()
    metrics: tuple[str, ...] = ("memory_mib",)

    @property
    def params(self) -> Mapping[str, object]:
        return {"pci": self.pci}

    @property
    def knobs(self) -> Mapping[str, tuple[Value, ...]]:
        return {"w_bits": BITS, "a_bits": BITS, **{k: KNOBS[k].choices for k in _KNOBS}}

    @property
    def constants(self) -> list[dict[str, float | str]]:
        return [asdict(constant) for constant in self.sheet]

    def arithmetic(self, layer: Layer, values: Mapping[str, Value]) -> Mapping[str, int | str]:
        """Return {} where sums are exact, or else `tile`, the reduction elements of a partial
        sum, and `dataflow`, "ws" or "is".

        Sums are exact if they are stored at 32 bits, stay in the array (dataflow os), take one
        tile, are of a depthwise convolution, whose window is summed inside the array, or have an
        operand of more than 8 bits.
        """
        at = {knob: values.get(knob, KNOBS[knob].neutral) for knob in self.knobs}
        wide = any(int(at[knob]) > _NARROW for knob in ("w_bits", "a_bits"))
        if wide or at["psum_bits"] == KNOBS["psum_bits"].neutral or at["dataflow"] == "os":
            return {}
        if tiles(layer, self.pci) == 1:
            return {}
        return {"tile": self.pci, "dataflow": at["dataflow"]}

    def cost(self, shape: NetworkShape, choices: Mapping[str, IntArray]) -> dict[str, FloatArray]:
        """Cost many designs at once: metric -> float64 (n_designs,).

        Raises:
            SpecError: values that the platform does not take.
        """
        w_bits = accepted_values(self, shape, choices)["w_bits"]
        weights = np.array([layer.weights for layer in shape.layers], dtype=np.int64)
        bits = (
            w_bits @ weights + int(self.sheet["vector_parameter_bits"]) * shape.vector_parameters
        )
        return {"memory_mib": bits / _MIB_BITS}

    def breakdown(self, shape: NetworkShape, design: Design) -> list[dict[str, float | str]]:
        """Return the parts of one design's costs, a record a layer, "(other)" last."""
        [w_bits] = accepted_values(self, shape, as_choices(shape, design))["w_bits"].tolist()
        records: list[dict[str, float | str]] = [
            {"layer": layer.name, "memory_mib": layer.weights * width / _MIB_BITS}
            for layer, width in zip(shape.layers, w_bits, strict=True)
        ]
        vector = int(self.sheet["vector_parameter_bits"]) * shape.vector_parameters / _MIB_BITS
        return [*records, {"layer": "(other)", "memory_mib": vector}]


def tiles(layer: Layer, pci: int) -> int:
    """Return how many partial sums make up an output of `layer`: 1 for a depthwise convolution,
    whose window is summed inside the array."""
    depthwise = layer.groups > 1 and layer.k <= layer.kernel**2
    return 1 if depthwise else -(-layer.k // pci)
