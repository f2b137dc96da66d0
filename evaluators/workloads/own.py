"""A workload of one's own as a network that can be measured and retrained."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.design import NetworkShape, Value, content_hash
from dse.errors import DseError, EvaluationError, SpecError, UnknownNameError
from dse.ports import Progress
from evaluators.arguments import call_with
from evaluators.data.cache import Cache, Parts
from evaluators.models.tracing import Traced, trace
from evaluators.models.training import one_thread
from evaluators.network import Batch, Lessons
from evaluators.registry import Places
from evaluators.workloads.blame import blame, tensors_in
from evaluators.workloads.definition import Definition, Labelled, Loss, inputs_of
from evaluators.workloads.metrics import METRICS, Mean, squared_error

_SEED: Final = 0


def _squared_error(outputs: object, targets: Tensor) -> Tensor:
    # the metric refuses shapes that torch's own loss would broadcast
    squared_error(outputs, targets)
    return functional.mse_loss(cast(Tensor, outputs), targets)


_LOSSES: Final[Mapping[str, Loss]] = {
    "top1-error": functional.cross_entropy,
    "top5-error": functional.cross_entropy,
    "mse": _squared_error,
}
_MEMBERS: Final = (
    *("name", "params", "shape", "metrics", "splits", "trainable", "needs", "defaults"),
    *("digest", "prepare", "model", "calibration", "measure"),
)


def network_from(
    returned: object,
    *,
    name: str,
    params: Mapping[str, object],
    places: Places,
    source: str,
) -> object:
    """Return what a workload's function returned as a network.

    Args:
        source: SHA-256 (hex) of the code that the function is in.

    Raises:
        SpecError: it is neither a `Definition` nor a network.
    """
    if isinstance(returned, Definition):
        cache = Cache(places.home / "cache")
        return OwnNetwork(name, returned, params=params, cache=cache, source=source)
    missing = [member for member in _MEMBERS if member not in dir(returned)]
    if missing:
        raise SpecError(
            f"{name} must return a Definition or a network, got {type(returned).__name__} "
            f"without {', '.join(missing)}"
        )
    return returned


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    weights: Mapping[str, Tensor]
    digest: str


class OwnNetwork:
    """A `Definition` as a network; fulfils `evaluators.network.Trainable` if it has training
    batches.

    Attributes:
        floats: matrix products that stay in float, as "module path: operation".
    """

    metrics: tuple[str, ...] = ("error",)
    splits: tuple[str, ...] = ("search", "test")
    needs: str | None = None

    def __init__(
        self,
        name: str,
        definition: Definition,
        *,
        params: Mapping[str, object],
        cache: Cache,
        source: str,
    ) -> None:
        """Take a definition; nothing runs yet.

        Args:
            cache: where fitted weights are kept.
            source: SHA-256 (hex) of the code or files that the definition was made from.
        """
        self.name = name
        self.params = params
        self._definition = definition
        self._cache = cache
        self._source = source
        self._prepared: _Prepared | None = None

    @property
    def shape(self) -> NetworkShape:
        return self._traced.shape

    @property
    def floats(self) -> tuple[str, ...]:
        return self._traced.floats

    @property
    def trainable(self) -> bool:
        return self._definition.train is not None

    @property
    def defaults(self) -> Mapping[str, Value]:
        return self._definition.defaults

    @property
    def digest(self) -> str:
        return self._ready.digest

    def prepare(self, progress: Progress) -> None:
        """Fit the network or load its weights from the cache, and measure one batch of it. Safe
        to repeat.

        Raises:
            EvaluationError: the model is none, does not take the data, or yields what is not
                finite or does not go with the metric.
            CacheError: DSE_HOME cannot be written or read.
            Exception: whatever the definition's own functions raise.
        """
        if self._prepared is not None:
            return
        self._traced  # noqa: B018  (first: it tells best what is wrong with a model)
        weights = self._fitted(progress)
        self._check(weights)
        self._prepared = _Prepared(weights=weights, digest=self._digest_with(weights))
        model, first = self.model(), self._definition.search[:1]
        self._measure(model, "search", first)
        self._refuse_chance(model, inputs_of(first[0][0]))

    def model(self) -> nn.Module:
        """Return a fresh copy of the network as it is measured, in evaluation mode."""
        model = self._built()
        model.load_state_dict(self._ready.weights)
        return trace(model.eval(), self._sample).model.eval()

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        return [inputs_of(batch) for batch in self._definition.calibration]

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Return `error`, the definition's metric over all samples of a split.

        Raises:
            UnknownNameError: no such split.
            EvaluationError: the model does not take a batch, or yields what is not finite or does
                not go with the metric: naming batch and module.
        """
        if split not in self.splits:
            raise UnknownNameError("split", split, self.splits)
        found = self._definition
        return self._measure(model, split, found.search if split == "search" else found.test)

    def rehearse(self, train: Sequence[Labelled]) -> None:
        """Run all calibration batches, and the first and the last of the training.

        Raises:
            EvaluationError: as `measure`.
        """
        model, mean = self.model(), self._mean()
        with torch.no_grad():
            for number, inputs in enumerate(self.calibration()):
                with _naming("calibration", number):
                    self._outputs(model, inputs)
            for number in sorted({0, len(train) - 1} if train else ()):
                batch, targets = train[number]
                with _naming("train", number):
                    mean.add(self._outputs(model, inputs_of(batch)), targets)

    def lessons(self, progress: Progress) -> Lessons:
        """Return the training batches, each epoch in another order. The model stays in
        evaluation mode: dropout is off and batch normalization frozen."""
        definition = self._definition
        if definition.train is None:
            raise EvaluationError(f"workload {self.name!r} has no training data")
        loss = definition.loss or _LOSSES[str(definition.metric)]
        return Lessons(
            batches=self._batches,
            loss=lambda model, batch, noise: loss(model(*_copies(batch[:-1])), batch[-1]),
            learning_rate=definition.learning_rate,
        )

    @property
    def _ready(self) -> _Prepared:
        if self._prepared is None:
            raise EvaluationError(f"workload {self.name!r} must be prepared before it is used")
        return self._prepared

    @cached_property
    def _traced(self) -> Traced:
        return trace(self._built().eval(), self._sample)

    @property
    def _sample(self) -> tuple[Tensor, ...]:
        return tuple(tensor[:1] for tensor in inputs_of(self._definition.calibration[0]))

    def _built(self) -> nn.Module:
        with _seeded():
            model = self._definition.model()
        if not isinstance(model, nn.Module):
            raise EvaluationError(f"model() must return an nn.Module, got {type(model).__name__}")
        return model

    def _check(self, weights: Mapping[str, Tensor]) -> None:
        """Refuse weights that no arithmetic takes; a buffer may be infinite, as masks are."""
        parameters = {name for name, _ in self._built().named_parameters()}
        for name, tensor in weights.items():
            if not bool((tensor.isfinite() if name in parameters else ~tensor.isnan()).all()):
                raise EvaluationError(f"the network's {name} must be finite")

    def _refuse_chance(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        with torch.no_grad():
            one, other = (tensors_in(model(*_copies(inputs))) for _ in range(2))
        if not all(torch.equal(a, b) for a, b in zip(one, other, strict=True)):
            raise EvaluationError(
                "the network must give the same outputs whenever it is run on the same batch, "
                "got others the second time: it draws random numbers or remembers"
            )

    def _fitted(self, progress: Progress) -> Mapping[str, Tensor]:
        if self._definition.fit is None:
            return _copy(self._built())
        identity = {
            "workload": self.name,
            "params": dict(self.params),
            "source": self._source,
            "torch": torch.__version__,
        }

        def make() -> Parts:
            progress("training", 0, 1)
            model = self._built()
            with one_thread(), _seeded():
                self._fit(model, progress)
            progress("training", 1, 1)
            return {"weights": _copy(model)}

        key = content_hash(identity)
        return self._cache.fetch("weights", key, "weights", make, progress).tensors

    def _fit(self, model: nn.Module, progress: Progress) -> None:
        fit = self._definition.fit
        assert fit is not None
        call_with(fit, {"model": model, "progress": progress})

    def _digest_with(self, weights: Mapping[str, Tensor]) -> str:
        given = self._definition
        train = [] if given.train is None or callable(given.train) else given.train
        labelled = {"search": given.search, "test": given.test, "train": train}
        metric = given.metric if isinstance(given.metric, str) else "of its own"
        return content_hash(
            {
                "weights": {name: _hash([tensor]) for name, tensor in weights.items()},
                "calibration": [_hash(inputs_of(batch)) for batch in given.calibration],
                "data": {
                    split: [_hash([*inputs_of(inputs), targets]) for inputs, targets in pairs]
                    for split, pairs in labelled.items()
                },
                "metric": metric,
                # what the network or the metric makes of them need not show in any weight
                "params": dict(self.params),
                "source": self._source,
            }
        )

    def _measure(
        self, model: nn.Module, split: str, batches: Sequence[Labelled]
    ) -> dict[str, float]:
        mean = self._mean()
        with torch.no_grad():
            for number, (batch, targets) in enumerate(batches):
                with _naming(split, number):
                    mean.add(self._outputs(model, inputs_of(batch)), targets)
        return {"error": mean.value}

    def _mean(self) -> Mean:
        metric = self._definition.metric
        return Mean(METRICS[metric] if isinstance(metric, str) else metric)

    # Any: a model may return what it likes
    def _outputs(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
        try:
            outputs = model(*_copies(inputs))
        except Exception as error:
            shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
            raise EvaluationError(
                f"{_at(model, inputs)} does not take its input (the model's: {shapes}): "
                f"{_text(error)}"
            ) from error
        for tensor in tensors_in(outputs):
            if not bool(tensor.isfinite().all()):
                raise EvaluationError(f"{_at(model, inputs)} returns what is not finite")
        return outputs

    def _batches(self, random: np.random.Generator) -> Iterator[Batch]:
        train = self._definition.train
        assert train is not None
        while True:
            epoch = (
                train(random)
                if callable(train)
                else [train[i] for i in random.permutation(len(train)).tolist()]
            )
            empty = True
            for inputs, targets in epoch:
                empty = False
                yield (*inputs_of(inputs), targets)
            if empty:
                raise EvaluationError("train yields no batch")


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield


@contextmanager
def _naming(split: str, number: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise EvaluationError(f"{split} batch {number}: {_text(error)}") from error


def _at(model: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    path = blame(model, inputs)
    return f"layer {path!r}" if path else "the model"


def _copies(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    # the network may write to its input
    return tuple(tensor.clone() for tensor in inputs)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise EvaluationError(
                f"the network's state must consist of tensors, but {name!r} is a "
                f"{type(value).__name__}"
            )
    # each on its own: tied weights would share memory, which safetensors refuses
    return {
        name: tensor.detach().clone().contiguous() for name, tensor in model.state_dict().items()
    }


def _hash(tensors: Sequence[Tensor]) -> str:
    told = hashlib.sha256()
    for tensor in tensors:
        told.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        told.update(flat.view(torch.uint8).numpy().data)
    return told.hexdigest()


def _text(error: Exception) -> str:
    return str(error) if isinstance(error, DseError) else f"{type(error).__name__}: {error}"
