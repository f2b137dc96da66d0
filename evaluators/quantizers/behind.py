"""Input ranges behind layers that are quantized themselves, at one design."""

from collections.abc import Callable, Mapping

from torch import nn

from evaluators.quantizers.calibration import Samples, input_ranges
from evaluators.quantizers.layers import QuantizedModel, Ranges
from evaluators.quantizers.learned_sums import Learned
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.tensor_range import TensorRange


def ranges_behind(
    make: Callable[[], nn.Module],
    schemes: Mapping[str, Scheme],
    samples: Samples,
    *,
    rounds: int,
    learned: Mapping[str, Learned] | None = None,
) -> dict[str, TensorRange]:
    """Return the range of each activation operand, named as `input_ranges` does.

    The first run is the float network's; each round after it runs the network quantized by the
    ranges of the run before.

    Args:
        make: returns a fresh copy of the float network.
        rounds: 0: the float network's own ranges.
        learned: as of `quantized_at`.
    """
    found = input_ranges(make(), schemes, samples)
    for _ in range(rounds):
        model = quantized_at(make(), schemes, found, samples, learned).model
        found = input_ranges(model, schemes, samples)
    return found


def quantized_at(
    model: nn.Module,
    schemes: Mapping[str, Scheme],
    ranges: Ranges,
    samples: Samples,
    learned: Mapping[str, Learned] | None = None,
) -> QuantizedModel:
    """Return a float model, changed in place, at one design with these input ranges.

    Args:
        samples: on which partial sums, if any are stored, get their units.
        learned: layer -> units that it has instead.
    """
    quantized = QuantizedModel(
        model, layers=schemes, calibration=lambda: samples, ranges=ranges, learned=learned
    )
    quantized.set(schemes)
    return quantized
