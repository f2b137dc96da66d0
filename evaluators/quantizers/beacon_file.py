"""The file of a beacon's weights: safetensors of a state dict, with what using it takes.

Everything beside the tensors is one JSON document in the metadata: several entries would come out
in an order of their own, and the file would not be the same twice.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from dse.design import canonical_json
from dse.errors import WeightsError
from evaluators.quantizers.learned_sums import Learned
from evaluators.quantizers.scheme import PartialSums, Rule, Scheme
from evaluators.quantizers.tensor_range import FrozenRange

_FORMAT = "beacon-dse beacon 2"
_LEARNED_FORMAT = "beacon-dse beacon 3"  # with exponents, that older releases would pass over
_OLD_FORMAT = "beacon-dse beacon 1"  # symmetric least-error ranges alone, as thresholds
_ENTRY = "beacon"
_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BeaconWeights:
    """What a retraining leaves.

    Attributes:
        state: the network's state dict, its products in float: the shadow weights.
        ranges: activation operand -> its range, behind the layers before it at the beacon's own
            scheme: what its neighbours' inputs look like too.
        about: where it comes from: JSON data ("workload", "network", "design", …).
        learned: layer -> the exponents of its partial sums that were learned.
    """

    state: Mapping[str, Tensor]
    ranges: Mapping[str, FrozenRange]
    about: Mapping[str, object]
    learned: Mapping[str, Learned] = field(default_factory=dict)


def dump_beacon(weights: BeaconWeights) -> bytes:
    """Return the file: the same weights give the same bytes."""
    ranges = {
        operand: {"peak": r.peak, "ends": {_key(rule): list(e) for rule, e in r.ends.items()}}
        for operand, r in weights.ranges.items()
    }
    content = {"format": _FORMAT, "ranges": ranges, "about": dict(weights.about)}
    if weights.learned:
        learned = {layer: asdict(one) for layer, one in weights.learned.items()}
        content |= {"format": _LEARNED_FORMAT, "learned": learned}
    told = canonical_json(content)
    tensors = {name: tensor.detach().contiguous() for name, tensor in weights.state.items()}
    return save(tensors, metadata={_ENTRY: told})


def load_beacon(document: bytes) -> BeaconWeights:
    """Read a file.

    Raises:
        WeightsError: it is no beacon's file, or a newer release wrote it.
    """
    try:
        length = int.from_bytes(document[:_LENGTH_BYTES], "little")
        header = json.loads(document[_LENGTH_BYTES : _LENGTH_BYTES + length])
        told = json.loads(header["__metadata__"][_ENTRY])
        if told["format"] not in (_LEARNED_FORMAT, _FORMAT, _OLD_FORMAT):
            raise WeightsError(f"beacon weights must be {_FORMAT!r}, got {told['format']!r}")
        old = told["format"] == _OLD_FORMAT
        ranges = {
            operand: FrozenRange(
                ends=_thresholds(one["thresholds"]) if old else _ends(one["ends"]),
                peak=float(one["peak"]),
            )
            for operand, one in told["ranges"].items()
        }
        return BeaconWeights(
            state=load(document),
            ranges=ranges,
            about=told["about"],
            learned={layer: _learned(one) for layer, one in told.get("learned", {}).items()},
        )
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"the file holds no beacon weights: {error}") from error


def _learned(told: Mapping[str, Any]) -> Learned:  # JSON data
    scheme = told["scheme"]
    sums = PartialSums(**scheme["sums"])
    return Learned(
        scheme=Scheme(**{**scheme, "sums": sums}), exponents=tuple(map(int, told["exponents"]))
    )


def _key(rule: Rule) -> str:
    return f"{rule.symmetry} {rule.quantizer} {rule.bits}"


def _ends(told: Mapping[str, list[float]]) -> dict[Rule, tuple[float, float]]:
    ends = {}
    for key, (low, high) in told.items():
        symmetry, quantizer, bits = key.split(" ")
        rule = Rule(bits=int(bits), quantizer=quantizer, symmetry=symmetry)
        ends[rule] = (float(low), float(high))
    return ends


def _thresholds(told: Mapping[str, float]) -> dict[Rule, tuple[float, float]]:
    return {Rule(bits=int(bits)): (-float(t), float(t)) for bits, t in told.items()}
