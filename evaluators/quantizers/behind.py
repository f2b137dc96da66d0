"""Input ranges behind layers that are quantized themselves, at one design."""

from collections.abc import Callable, Mapping

from torch import nn

from evaluators.quantizers.calibration import Range, TensorRange, input_ranges
from evaluators.quantizers.layers import QuantizedModel, Samples, Widths


def ranges_behind(
    make: Callable[[], nn.Module], widths: Mapping[str, Widths], samples: Samples, *, rounds: int
) -> dict[str, TensorRange]:
    """Return the range of each layer's input.

    The first run is the float network's; each round after it runs the network quantized by the
    ranges of the run before.

    Args:
        make: returns a fresh copy of the float network.
        rounds: 0: the float network's own ranges.
    """
    found = input_ranges(make(), widths, samples)
    for _ in range(rounds):
        found = input_ranges(quantized_at(make(), widths, found).model, widths, samples)
    return found


def quantized_at(
    model: nn.Module, widths: Mapping[str, Widths], ranges: Mapping[str, Range]
) -> QuantizedModel:
    """Return a float model, changed in place, at one design with these input ranges."""
    quantized = QuantizedModel(model, layers=widths, calibration=lambda: (), ranges=ranges)
    quantized.set(widths)
    return quantized
