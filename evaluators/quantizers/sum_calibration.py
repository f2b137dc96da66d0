"""How large the sums of layers get, from one run of the float network on the calibration samples.

What flows into a layer is that of the float network, on the grid at which the layer stands, and
its sums are exact: like ranges, units of partial sums do not depend on what the design says of
other layers.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.arithmetic.psum_maxima import PsumMaxima, largest_of
from evaluators.quantizers.dynamic import DynamicProduct
from evaluators.quantizers.grid import ChannelGrid, Grid
from evaluators.quantizers.kinds import arguments, find_product
from evaluators.quantizers.partial_sums import Look
from evaluators.quantizers.weighted import WeightedProduct

Key = dict[str, object]
"""What maxima of a network depend on, as JSON data."""

Product = WeightedProduct | DynamicProduct
Samples = Sequence[tuple[Tensor, ...]]

VERSION = 1
"""Raised whenever the same network would get other maxima than before."""


class KeptMaxima(Protocol):
    """Maxima that were found before, perhaps by another process."""

    def find(self, key: Key) -> PsumMaxima | None: ...
    def keep(self, key: Key, maxima: PsumMaxima) -> None: ...


@final
class SumCalibration:
    """Finds the maxima of layers as they are asked for, each once."""

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, Product],
        calibration: Callable[[], Samples],
        kept: KeptMaxima | None,
    ) -> None:
        self._model = model
        self._layers = layers
        self._calibration = calibration
        self._kept = kept
        self._found: dict[str, PsumMaxima] = {}

    def maxima(
        self, layers: Mapping[str, Product], tiles: Mapping[str, int]
    ) -> dict[str, PsumMaxima]:
        """Return the maxima of layers at the grids that they stand at.

        Raises:
            EvaluationError: no samples, or a layer that none of them reaches.
        """
        keys = {name: _key(name, layer, tiles[name]) for name, layer in layers.items()}
        missing = {name: layers[name] for name, key in keys.items() if not self._known(key)}
        if missing:
            for name, maxima in self._measured(missing, tiles).items():
                self._found[str(keys[name])] = maxima
                if self._kept is not None:
                    self._kept.keep(keys[name], maxima)
        return {name: self._found[str(key)] for name, key in keys.items()}

    def _known(self, key: Key) -> bool:
        if str(key) not in self._found and self._kept is not None:
            found = self._kept.find(key)
            if found is not None:
                self._found[str(key)] = found
        return str(key) in self._found

    def _measured(
        self, layers: Mapping[str, Product], tiles: Mapping[str, int]
    ) -> dict[str, PsumMaxima]:
        watches = [
            _Watch(self._model, name, layer.look(tiles[name])) for name, layer in layers.items()
        ]
        with ExitStack() as stack:
            for layer in self._layers.values():
                stack.enter_context(layer.in_float())
            for watch in watches:
                stack.callback(watch.remove)
            self._run()
        return {watch.layer: watch.found() for watch in watches}

    def _run(self) -> None:
        samples = self._calibration()
        with torch.no_grad():
            for sample in samples:
                self._model(*(tensor.clone() for tensor in sample))  # it may write to its input


@final
class _Watch:
    """The sums of one layer."""

    def __init__(self, model: nn.Module, layer: str, look: Look) -> None:
        self.layer = layer
        module = find_product(model, layer)
        self._names = [argument for _, argument in arguments(module, layer)]
        self._look = look
        self._found: list[PsumMaxima] = []
        self.remove = module.register_forward_pre_hook(self._see, with_kwargs=True).remove

    def found(self) -> PsumMaxima:
        if not self._found:
            raise EvaluationError(f"layer {self.layer!r} was not run on a calibration sample")
        return largest_of(self._found)

    def _see(self, module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs = [*given, *(named[name] for name in self._names[len(given) :])]
        if inputs[0].numel():
            self._found.append(self._look(*inputs))


def _key(name: str, layer: Product, tile: int) -> Key:
    operands = layer.operands
    assert operands is not None
    return {
        "sums": VERSION,
        "layer": name,
        "tile": tile,
        "grids": [_grid(grid) for grid in operands.grids],
    }


def _grid(grid: Grid | ChannelGrid) -> list[object]:
    if isinstance(grid, ChannelGrid):
        return ["channels", grid.low, grid.high]  # the network's own weights give their scales
    return [grid.scale, grid.low, grid.high, grid.zero]
