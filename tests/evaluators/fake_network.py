"""A network small enough to be measured in a millisecond, that really quantizes."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count

import numpy as np
import torch
from torch import Tensor, nn

from dse.design import Layer, NetworkShape, Value
from dse.errors import SpecError
from dse.ports import Progress
from dse.tasks import Retraining, Task
from evaluators.accuracy import AccuracyEvaluator
from evaluators.network import Lessons
from evaluators.pools.attempt import Evaluate
from evaluators.registry import Places

CLASSES = 5
_SIZES = {"first": (12, 16), "second": (16, 8), "out": (8, CLASSES)}
_SAMPLES = {"calibration": 5, "search": 200, "test": 100}


class TinyNetwork:
    """Three products on random features; an inherently noisy label per sample."""

    name = "tiny"
    params: Mapping[str, object] = {}
    metrics: tuple[str, ...] = ("error", "spread")
    splits: tuple[str, ...] = ("search", "test")
    trainable = False
    needs: str | None = None
    defaults: Mapping[str, Value] = {}
    digest = "0" * 64

    def __init__(self) -> None:
        layers = tuple(Layer(name=name, k=k, n=n) for name, (k, n) in _SIZES.items())
        self.shape = NetworkShape(layers=layers)

    def prepare(self, progress: Progress) -> None:
        progress("nothing to prepare", 1, 1)

    def model(self) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        model = TinyModel()
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0.0, 0.4, generator=generator)
        return model.eval()

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        return [(frames[None],) for frames in _features("calibration")]

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        if split not in ("search", "test"):
            raise SpecError(f"split must be search or test, got {split!r}")
        features = _features(split)
        with torch.no_grad():
            labels = self.model()(features).argmax(-1)
            scores: Tensor = model(features)
        wrong = (scores.argmax(-1) != labels).double().mean()
        return {"error": 100.0 * float(wrong), "spread": float(scores.double().std())}


class TinyModel(nn.Module):
    """Two tanh layers and a linear one on frames (..., 12)."""

    def __init__(self) -> None:
        super().__init__()
        for name, (k, n) in _SIZES.items():
            self.add_module(name, nn.Linear(k, n, bias=name == "out"))

    def forward(self, values: Tensor) -> Tensor:
        for name in ("first", "second"):
            values = self.get_submodule(name)(values).tanh()
        scores: Tensor = self.get_submodule("out")(values)
        return scores


def tiny(params: Mapping[str, object], places: Places) -> TinyNetwork:
    """Be the target of a registered workload."""
    return TinyNetwork()


def tiny_evaluator() -> Evaluate:
    """Be the target of a process pool."""
    evaluator = AccuracyEvaluator(TinyNetwork())

    def evaluate(task: Task, progress: Progress) -> dict[str, float]:
        assert not isinstance(task, Retraining)
        return evaluator.evaluate(task)

    return evaluate


def _features(split: str) -> Tensor:
    generator = torch.Generator().manual_seed(_SAMPLES[split])
    return torch.randn(_SAMPLES[split], 7, 12, generator=generator)


class TinyTrainable(TinyNetwork):
    """The same with training data: it learns to say what it says in float."""

    name = "tiny-trainable"
    trainable = True

    def __init__(self, *, look: int = 10, poison: int | None = None) -> None:
        """Make it.

        Args:
            poison: the batch, counted from 0, whose loss is not finite.
        """
        super().__init__()
        self._look = look
        self._poison = poison

    def lessons(self, progress: Progress) -> Lessons:
        progress("nothing to load", 1, 1)
        return Lessons(
            batches=self._batches,
            loss=_loss,
            learning_rate=1e-2,
            refit_weights=5,
            refit_inputs=15,
            look=self._look,
        )

    def _batches(self, random: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        teacher = self.model()
        for number in count():
            features = torch.from_numpy(random.standard_normal((32, 12), dtype=np.float32))
            with torch.no_grad():
                labels = teacher(features).argmax(-1)
            yield (features * torch.nan if number == self._poison else features), labels


def _loss(model: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    features, labels = batch
    noise = torch.empty_like(features).normal_(0.0, 0.05, generator=generator)
    return nn.functional.cross_entropy(model(features + noise), labels)
