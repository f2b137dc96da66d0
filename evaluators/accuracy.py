from collections.abc import Callable, Mapping
from typing import cast, final

import torch

from dse.design import Choices
from dse.errors import EvaluationError, SpecError, UnknownNameError
from dse.knobs import KNOBS
from dse.ports import Request, silent
from evaluators.evaluation import HONOURED, finite_metrics
from evaluators.network import Network
from evaluators.quantizers.layers import QuantizedModel, Widths
from evaluators.registry import Places, make_workload


def make_evaluator(
    workload: str, params: Mapping[str, object], places: Places
) -> Callable[[Request], dict[str, float]]:
    """Make a workload by name, prepare it and return its evaluator's `evaluate`.

    Raises:
        EvaluationError: the workload is a shape without a network.
    """
    made = make_workload(workload, params, places)
    if not made.metrics:
        raise EvaluationError(f"workload {workload!r} is shape-only: it has no network to run")
    network = cast(Network, made)
    network.prepare(silent)
    return AccuracyEvaluator(network).evaluate


@final
class AccuracyEvaluator:
    """Measures designs on one network in exact integer arithmetic.

    Results depend on the request alone: not on earlier requests, nor on the process.
    """

    def __init__(self, network: Network) -> None:
        """Take a prepared network. Sets torch to one thread, on which float sums depend."""
        torch.set_num_threads(1)
        self._network = network
        self._layers = network.shape.names
        self._model = QuantizedModel(
            network.model(), layers=self._layers, calibration=network.calibration
        )

    def evaluate(self, request: Request) -> dict[str, float]:
        """Run the network at the request's design and return its metrics.

        Raises:
            SpecError: a knob value or an arithmetic that this evaluator cannot obey.
            UnknownNameError: a knob or layer that does not exist.
            EvaluationError: a metric that is not finite.
        """
        _check_arithmetic(request.arithmetic, self._layers)
        widths = None if request.choices is None else _widths(request.choices, self._layers)
        with torch.no_grad():
            self._model.set(widths)
            metrics = self._network.measure(self._model.model, request.split)
        return finite_metrics(metrics)


def _check_arithmetic(
    arithmetic: Mapping[str, Mapping[str, int | str]], layers: tuple[str, ...]
) -> None:
    for layer, said in arithmetic.items():
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        if said:
            raise SpecError(
                f"arithmetic at layer {layer!r} must be empty (plain integer products), "
                f"got {dict(said)}"
            )


def _widths(choices: Choices, layers: tuple[str, ...]) -> dict[str, Widths]:
    for knob, values in choices.items():
        _check_values(knob, values, layers)
    bits = {
        knob: {layer: choices.get(knob, {}).get(layer, KNOBS[knob].neutral) for layer in layers}
        for knob in HONOURED
    }
    return {
        layer: Widths(weights=bits["w_bits"][layer], inputs=bits["a_bits"][layer])
        for layer in layers
    }


def _check_values(knob: str, values: Mapping[str, int], layers: tuple[str, ...]) -> None:
    if knob not in KNOBS:
        raise UnknownNameError("knob", knob, sorted(KNOBS))
    known = KNOBS[knob]
    allowed = known.choices if knob in HONOURED else (known.neutral,)
    for layer, value in values.items():
        if layer not in layers:
            raise UnknownNameError("layer", layer, layers)
        if value not in allowed:
            raise SpecError(f"{knob} at layer {layer!r} must be one of {allowed}, got {value}")
