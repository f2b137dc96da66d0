from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import final

import numpy as np
import torch
from torch import Tensor

from dse.design import content_hash
from dse.errors import WeightsError
from dse.ports import silent
from dse.tasks import Request
from evaluators.arithmetic.psum_maxima import PsumMaxima
from evaluators.arithmetic.settings import settle_torch
from evaluators.data.cache import Cache
from evaluators.data.vault import Vault
from evaluators.evaluation import finite_metrics
from evaluators.network import Network
from evaluators.quantizers.beacon_file import load_beacon
from evaluators.quantizers.calibration import VERSION, pack_ranges, unpack_ranges
from evaluators.quantizers.layers import QuantizedModel
from evaluators.quantizers.requests import check_arithmetic, read_schemes
from evaluators.quantizers.sum_calibration import Key
from evaluators.quantizers.tensor_range import TensorRange

_MOST_BEACONS = 16
_RANGES, _SCALES, _SUMS = "ranges", "scales", "sums"


@final
class AccuracyEvaluator:
    """Measures designs on one network in exact integer arithmetic.

    Results depend on the request alone: not on earlier requests, nor on the process.
    """

    def __init__(
        self, network: Network, vault: Vault | None = None, cache: Cache | None = None
    ) -> None:
        """Take a prepared network. Settles torch (`evaluators.arithmetic.settings`).

        Args:
            vault: where beacon weights lie; None: only base weights can be asked for.
            cache: where the network's calibration and its weights' scales by channel are kept for
                other processes and runs; None: made anew.
        """
        settle_torch()
        self._network = network
        self._vault = vault
        self._cache = cache
        self._layers = network.shape.names
        self._base = QuantizedModel(
            network.model(),
            layers=self._layers,
            calibration=network.calibration,
            recall=self._recalled,
            kept_sums=self._kept_sums(None),
            keep_scales=None if cache is None else self._kept_scales,
        )
        self._beacons: OrderedDict[str, QuantizedModel] = OrderedDict()

    def evaluate(self, request: Request) -> dict[str, float]:
        """Run the network at the request's design, on its weights, and return its metrics.

        Raises:
            SpecError: a knob value or an arithmetic that this evaluator cannot obey.
            UnknownNameError: a knob or layer that does not exist.
            WeightsError: beacon weights are missing, altered or of another network.
            EvaluationError: inputs of a layer or a metric that are not finite, or a network that
                cannot be calibrated.
            CacheError: the calibration cannot be kept.
        """
        if request.choices is None:
            check_arithmetic(request.arithmetic, self._layers)
            schemes = None
        else:
            schemes = read_schemes(request.choices, request.arithmetic, self._layers)
        model = self.quantized(request.weights)
        settle_torch()
        with torch.no_grad():
            model.set(schemes)
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

    def _recalled(self, make: Callable[[], dict[str, TensorRange]]) -> Mapping[str, TensorRange]:
        if self._cache is None:
            return make()
        identity = {
            "calibration": VERSION,
            "network": self._network.digest,
            "layers": list(self._layers),
            "torch": torch.__version__,
        }
        stored = self._cache.fetch(
            _RANGES,
            content_hash(identity),
            _RANGES,
            lambda: {_RANGES: pack_ranges(make())},
            silent,
        )
        return unpack_ranges(stored.tensors)

    def _kept_sums(self, weights: str | None) -> "_KeptSums | None":
        if self._cache is None:
            return None
        return _KeptSums(
            self._cache,
            {
                "network": self._network.digest,
                "weights": weights,
                "torch": torch.__version__,
            },
        )

    def _kept_scales(self, identity: Mapping[str, object], make: Callable[[], Tensor]) -> Tensor:
        assert self._cache is not None
        key = content_hash({**identity, "numpy": np.__version__})
        made = self._cache.fetch(
            _SCALES, key, _SCALES, lambda: {_SCALES: {_SCALES: make()}}, silent
        )
        return made.tensors[_SCALES]

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
            kept_sums=self._kept_sums(digest),
            learned=found.learned,
        )


@final
class _KeptSums:
    """The largest sums of one network's layers, in files that can be made again."""

    def __init__(self, cache: Cache, identity: Key) -> None:
        self._cache = cache
        self._identity = identity

    def find(self, key: Key) -> PsumMaxima | None:
        stored = self._cache.find(_SUMS, self._name(key), _SUMS)
        if stored is None:
            return None
        tiles, sums = (tuple(stored.tensors[part].tolist()) for part in ("tiles", "sums"))
        return PsumMaxima(tiles=tiles, sums=sums)

    def keep(self, key: Key, maxima: PsumMaxima) -> None:
        parts = {
            "tiles": torch.tensor(maxima.tiles, dtype=torch.int64),
            "sums": torch.tensor(maxima.sums, dtype=torch.int64),
        }
        self._cache.fetch(_SUMS, self._name(key), _SUMS, lambda: {_SUMS: parts}, silent)

    def _name(self, key: Key) -> str:
        return content_hash(self._identity | key)
