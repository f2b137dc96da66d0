from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import final

from torch import nn

from evaluators.arithmetic.matmul import MatMul
from evaluators.quantizers.calibration import Samples, input_ranges
from evaluators.quantizers.dynamic import DynamicOperands, DynamicProduct
from evaluators.quantizers.kinds import find_product, second
from evaluators.quantizers.learned_sums import Learned
from evaluators.quantizers.partial_sums import Summation
from evaluators.quantizers.scheme import Scheme
from evaluators.quantizers.sum_calibration import KeptMaxima, SumCalibration
from evaluators.quantizers.tensor_range import Range, TensorRange
from evaluators.quantizers.weighted import Keep, Operands, WeightedProduct

Ranges = Mapping[str, Range]
Recall = Callable[[Callable[[], dict[str, TensorRange]]], Ranges]
"""Returns what its argument would make, perhaps from earlier."""


@final
class QuantizedModel:
    """A float model whose named products can be set to any schemes.

    The model is changed in place. Codes and grids are made once per layer and scheme, from the
    float model's own ranges, and shared by all designs: nothing depends on the designs before.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        layers: Iterable[str],
        calibration: Callable[[], Samples],
        ranges: Ranges | None = None,
        recall: Recall | None = None,
        kept_sums: KeptMaxima | None = None,
        learned: Mapping[str, Learned] | None = None,
        keep_scales: Keep | None = None,
    ) -> None:
        """Take hold of the layers.

        Args:
            model: a float network in evaluation mode.
            layers: module paths.
            calibration: called once, when input ranges are first needed.
            ranges: of each activation operand, as `input_ranges` names them; None: those of the
                float network on the calibration samples.
            recall: where the latter may be kept from process to process.
            kept_sums: where the largest sums may be.
            learned: exponents that hold at a layer's scheme instead of calibrated ones.
            keep_scales: where the scales of weights by channel may be kept likewise.

        Raises:
            EvaluationError: a layer that is no product of the model.
        """
        self.model = model
        self._layers = {layer: _product(model, layer, keep_scales) for layer in layers}
        self._calibration = calibration
        self._sums = SumCalibration(model, self._layers, calibration, kept_sums)
        self._learned = learned or {}
        self._ranges = ranges
        self._recall = recall

    def set(self, schemes: Mapping[str, Scheme] | None) -> None:
        """Put every layer at its scheme; None is the float network."""
        if schemes is None:
            for layer in self._layers.values():
                layer.operands = None
            return
        ranges = self._input_ranges()
        for name in self._layers:
            self._put(name, schemes[name], ranges)
        self._sum_up({name: schemes[name] for name in self._layers})

    def put(self, name: str, scheme: Scheme, ranges: Ranges) -> None:
        """Put one layer at its scheme, by these ranges."""
        self._put(name, scheme, ranges)
        self._sum_up({name: scheme})

    def _put(self, name: str, scheme: Scheme, ranges: Ranges) -> None:
        layer = self._layers[name]
        inputs = ranges[name].grid(scheme.input_rule)
        if isinstance(layer, WeightedProduct):
            layer.put(scheme, inputs)
        else:
            other = ranges[second(name)].grid(scheme.second_rule)
            layer.operands = DynamicOperands(inputs=inputs, second=other)

    def _sum_up(self, schemes: Mapping[str, Scheme]) -> None:
        """Have layers that are at their schemes store their sums."""
        storing = {
            name: scheme.sums
            for name, scheme in schemes.items()
            if scheme.sums is not None and self._layers[name].stores(scheme.sums.tile)
        }
        for name, learned in self._learned.items():
            if name in storing and schemes[name] == learned.scheme:
                self._store(name, learned.summation)
                del storing[name]
        if not storing:
            return
        layers = {name: self._layers[name] for name in storing}
        maxima = self._sums.maxima(layers, {name: s.tile for name, s in storing.items()})
        for name, sums in storing.items():
            units = maxima[name].units(sums.bits)
            self._store(name, Summation(sums=sums, units=units))

    def _store(self, name: str, summation: Summation) -> None:
        layer = self._layers[name]
        assert layer.operands is not None
        if isinstance(layer, WeightedProduct):
            layer.operands = replace(layer.operands, summation=summation)
        else:
            layer.operands = replace(layer.operands, summation=summation)

    @property
    def operands(self) -> dict[str, Operands | DynamicOperands]:
        """What each layer multiplies with at the scheme that it is set to; none while in
        float."""
        found = {name: layer.operands for name, layer in self._layers.items()}
        return {name: operands for name, operands in found.items() if operands is not None}

    def _input_ranges(self) -> Ranges:
        if self._ranges is None:
            self.set(None)
            self._ranges = (
                self._measured() if self._recall is None else self._recall(self._measured)
            )
        return self._ranges

    def _measured(self) -> dict[str, TensorRange]:
        return input_ranges(self.model, self._layers, self._calibration())


def _product(model: nn.Module, layer: str, keep: Keep | None) -> WeightedProduct | DynamicProduct:
    module = find_product(model, layer)
    if isinstance(module, MatMul):
        return DynamicProduct(layer, module)
    return WeightedProduct(layer, module, keep)
