"""A network small enough to be measured in a millisecond, that really quantizes."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from dse.design import Layer, NetworkShape
from dse.errors import SpecError
from dse.ports import Progress, Request
from evaluators.accuracy import AccuracyEvaluator

CLASSES = 5
_SIZES = {"first": (12, 16), "second": (16, 8), "out": (8, CLASSES)}
_SAMPLES = {"calibration": 5, "search": 200, "test": 100}


class TinyNetwork:
    """Three products on random features; an inherently noisy label per sample."""

    name = "tiny"
    params: Mapping[str, object] = {}
    metrics: tuple[str, ...] = ("error", "spread")
    splits: tuple[str, ...] = ("search", "test")
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


def tiny_evaluator() -> Callable[[Request], dict[str, float]]:
    """Be the target of a process pool."""
    return AccuracyEvaluator(TinyNetwork()).evaluate


def _features(split: str) -> Tensor:
    generator = torch.Generator().manual_seed(_SAMPLES[split])
    return torch.randn(_SAMPLES[split], 7, 12, generator=generator)
