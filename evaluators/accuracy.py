from collections import OrderedDict
from typing import final

import torch

from dse.errors import WeightsError
from dse.tasks import Request
from evaluators.data.vault import Vault
from evaluators.evaluation import finite_metrics
from evaluators.network import Network
from evaluators.quantizers.beacon_file import load_beacon
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.requests import check_arithmetic, read_widths

_MOST_BEACONS = 16


@final
class AccuracyEvaluator:
    """Measures designs on one network in exact integer arithmetic.

    Results depend on the request alone: not on earlier requests, nor on the process.
    """

    def __init__(self, network: Network, vault: Vault | None = None) -> None:
        """Take a prepared network. Sets torch to one thread, on which float sums depend.

        Args:
            vault: where beacon weights lie; None: only base weights can be asked for.
        """
        torch.set_num_threads(1)
        self._network = network
        self._vault = vault
        self._layers = network.shape.names
        self._base = QuantizedModel(
            network.model(), layers=self._layers, calibration=network.calibration
        )
        self._beacons: OrderedDict[str, QuantizedModel] = OrderedDict()

    def evaluate(self, request: Request) -> dict[str, float]:
        """Run the network at the request's design, on its weights, and return its metrics.

        Raises:
            SpecError: a knob value or an arithmetic that this evaluator cannot obey.
            UnknownNameError: a knob or layer that does not exist.
            WeightsError: beacon weights are missing, altered or of another network.
            EvaluationError: a metric that is not finite.
        """
        if request.choices is None:
            check_arithmetic(request.arithmetic, self._layers)
            widths = None
        else:
            widths = read_widths(request.choices, request.arithmetic, self._layers)
        model = self.quantized(request.weights)
        with torch.no_grad():
            model.set(widths)
            metrics = self._network.measure(model.model, request.split)
        return finite_metrics(metrics)

    def quantized(self, weights: str | None) -> QuantizedModel:
        """Return the model on base weights (None) or on a beacon's (SHA-256), kept for later.

        Raises:
            WeightsError: beacon weights are missing, altered or of another network.
        """
        if weights is None:
            return self._base
        if weights not in self._beacons:
            self._beacons[weights] = self._load(weights)
            if len(self._beacons) > _MOST_BEACONS:
                self._beacons.popitem(last=False)
        self._beacons.move_to_end(weights)
        return self._beacons[weights]

    def _load(self, digest: str) -> QuantizedModel:
        if self._vault is None:
            raise WeightsError(
                f"weights {digest} are asked for, but only base weights are at hand"
            )
        found = load_beacon(self._vault.read(digest))
        theirs = found.about.get("network")
        if theirs != self._network.digest:
            raise WeightsError(
                f"weights {digest} were retrained from network {theirs}, "
                f"not from {self._network.digest}"
            )
        model = self._network.model()
        try:
            model.load_state_dict(dict(found.state))
        except RuntimeError as error:
            raise WeightsError(f"weights {digest} do not fit the network: {error}") from error
        return QuantizedModel(
            model,
            layers=self._layers,
            calibration=self._network.calibration,
            ranges=found.ranges,
        )
