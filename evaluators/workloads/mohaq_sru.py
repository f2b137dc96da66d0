"""The speech recogniser of the MOHAQ paper, as a shape to be costed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dse.design import Layer, NetworkShape, Value
from dse.errors import SpecError
from evaluators.registry import Places

# Rezk et al., MOHAQ (arXiv 2108.01192), constants of the authors' cost scripts: layer 0 is counted
# with three of its four matrices and the vectors with half of what is built.
_SHAPE: Final = NetworkShape(
    layers=(
        Layer(name="L0", k=23, n=3300, consumers=("P1",)),
        Layer(name="P1", k=1100, n=256, consumers=("L1",)),
        Layer(name="L1", k=256, n=3300, consumers=("P2",)),
        Layer(name="P2", k=1100, n=256, consumers=("L2",)),
        Layer(name="L2", k=256, n=3300, consumers=("P3",)),
        Layer(name="P3", k=1100, n=256, consumers=("L3",)),
        Layer(name="L3", k=256, n=3300, consumers=("FC",)),
        Layer(name="FC", k=1100, n=1904),
    ),
    vector_parameters=8_800,
    elementwise_operations=88_000,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeOnly:
    """A workload without network or data: it measures nothing."""

    name: str
    shape: NetworkShape
    params: Mapping[str, object] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    trainable = False
    needs = None
    defaults: Mapping[str, Value] = field(default_factory=dict)
    splits: tuple[str, ...] = ()


def mohaq_sru(params: Mapping[str, object], places: Places) -> ShapeOnly:
    """Make the paper's 4-layer bidirectional SRU: one inference is one speech frame.

    Raises:
        SpecError: it takes no parameters.
    """
    if params:
        given = ", ".join(map(repr, sorted(params)))
        raise SpecError(f"workload 'mohaq-sru' takes no parameters, got {given}")
    return ShapeOnly(name="mohaq-sru", shape=_SHAPE)
