"""The speech recogniser of the MOHAQ paper, as a shape to be costed."""

from collections.abc import Mapping
from typing import Final

from dse.design import Layer, NetworkShape
from dse.errors import SpecError
from evaluators.registry import Places
from evaluators.workloads.shape_only import ShapeOnly

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


def mohaq_sru(params: Mapping[str, object], places: Places) -> ShapeOnly:
    """Make the paper's 4-layer bidirectional SRU: one inference is one speech frame.

    Raises:
        SpecError: it takes no parameters.
    """
    if params:
        given = ", ".join(map(repr, sorted(params)))
        raise SpecError(f"workload 'mohaq-sru' takes no parameters, got {given}")
    return ShapeOnly(name="mohaq-sru", shape=_SHAPE)
