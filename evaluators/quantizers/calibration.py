"""The ranges of what flows into products, from one run of the network per sample."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from dse.errors import EvaluationError, SpecError
from evaluators.quantizers.histogram import Histogram
from evaluators.quantizers.kinds import arguments, find_product
from evaluators.quantizers.tensor_range import TensorRange, seen

VERSION = 1
"""Raised whenever the same network would get other ranges than before."""

Samples = Sequence[tuple[Tensor, ...]]


def input_ranges(
    model: nn.Module, layers: Iterable[str], samples: Samples
) -> dict[str, TensorRange]:
    """Run `model` once per sample and return the range of every operand that is an activation:
    of each layer's input by the layer's name, of a dynamic product's second operand by what
    `evaluators.quantizers.kinds.second` calls it.

    A layer that runs several times on a sample has seen one tensor: its inputs side by side.

    Raises:
        EvaluationError: no samples, a layer that is no product or that a sample does not reach,
            or inputs that are not finite.
    """
    if not samples:
        raise EvaluationError("calibration needs at least one sample, got none")
    watches = [_Watch(model, layer) for layer in layers]
    found: dict[str, list[Histogram]] = {}
    try:
        for sample in samples:
            _run(model, sample, watches)
            for watch in watches:
                for operand, one in watch.take().items():
                    found.setdefault(operand, []).append(one)
    finally:
        for watch in watches:
            watch.remove()
    return {operand: TensorRange(histograms) for operand, histograms in found.items()}


def pack_ranges(ranges: Mapping[str, TensorRange]) -> dict[str, Tensor]:
    """Lay ranges out as tensors, which give the same ranges back."""
    tensors = {}
    for name, one in ranges.items():
        ends = [[s.low, s.high, *s.tails.tolist()] for s in one.samples]
        tensors[f"ends/{name}"] = torch.tensor(ends, dtype=torch.float64)
        tensors[f"counts/{name}"] = torch.from_numpy(np.stack([s.counts for s in one.samples]))
    return tensors


def unpack_ranges(tensors: Mapping[str, Tensor]) -> dict[str, TensorRange]:
    """Read what `pack_ranges` laid out."""
    ranges = {}
    for key, ends in tensors.items():
        kind, _, name = key.partition("/")
        if kind == "ends":
            rows = zip(ends.tolist(), tensors[f"counts/{name}"].numpy(), strict=True)
            ranges[name] = TensorRange(
                [
                    Histogram(low=low, high=high, counts=counts, tails=np.array(tails))
                    for (low, high, *tails), counts in rows
                ]
            )
    return ranges


def _run(model: nn.Module, sample: tuple[Tensor, ...], watches: Sequence["_Watch"]) -> None:
    with torch.no_grad():
        model(*(tensor.clone() for tensor in sample))  # the network may write to its input
        if any(watch.surprised for watch in watches):
            # Once for a network: its layers that run several times are known from here on.
            for watch in watches:
                watch.forget()
            _run(model, sample, watches)


@final
class _Watch:
    """What goes into one layer.

    Each input is counted as it comes and not held, which would hold all activations of a sample
    at once and see what later in-place operations make of them. The inputs of a layer that runs
    several times on a sample are copied and counted together.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        self._layer = layer
        module = find_product(model, layer)
        self._operands = arguments(module, layer)
        self._holds = False
        self.surprised = False
        self._counted: dict[str, Histogram] = {}
        self._held: dict[str, list[Tensor]] = {}
        self.remove = module.register_forward_pre_hook(self._see, with_kwargs=True).remove

    def take(self) -> dict[str, Histogram]:
        """Return the histogram of each operand on the sample that was run."""
        for operand, inputs in self._held.items():
            self._count(operand, torch.cat(inputs))
        if not self._counted:
            raise EvaluationError(f"layer {self._layer!r} was not run on a calibration sample")
        taken = self._counted
        self.forget()
        return taken

    def forget(self) -> None:
        self._holds = self._holds or self.surprised
        self.surprised = False
        self._counted, self._held = {}, {}

    def _see(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        values = [*given, *(named[n] for _, n in self._operands[len(given) :])]
        for (operand, _), tensor in zip(self._operands, values, strict=True):
            if self._holds:
                self._held.setdefault(operand, []).append(tensor.detach().flatten().clone())
            elif operand in self._counted:
                self.surprised = True
            else:
                self._count(operand, tensor)

    def _count(self, operand: str, values: Tensor) -> None:
        try:
            self._counted[operand] = seen(values)
        except SpecError as error:
            raise EvaluationError(f"input of layer {operand!r}: {error}") from error
