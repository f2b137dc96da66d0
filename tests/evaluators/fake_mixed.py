"""A small network with a product of every kind."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from dse.design import Choices, Layer, NetworkShape, Value
from dse.ports import Progress
from evaluators.arithmetic.matmul import MatMul
from evaluators.network import Lessons

LAYERS = ("wide", "deep", "groups", "query", "scores", "line", "out")
_SAMPLES = {"calibration": 4, "search": 33, "test": 17}
_CLASSES = 4


class MixedModel(nn.Module):
    """Images (batch, 2, 8, 8) to class scores; `query` runs twice in a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 8, 3, padding="same")
        self.deep = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.groups = nn.Conv2d(8, 12, (2, 1), groups=4, bias=False)
        self.query = nn.Linear(12, 12)
        self.scores = MatMul()
        self.line = nn.Conv1d(12, 6, 3, dilation=2)
        self.out = nn.Linear(6, _CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.groups(self.deep(self.wide(images).relu()).relu()).flatten(2).mT
        again = self.query(self.query(tokens).tanh())
        weights = self.scores(again, tokens.mT).softmax(-1)
        scores: Tensor = self.out(self.line((tokens + weights @ again).mT).amax(-1))
        return scores


class MixedNetwork:
    """Noise for images; the float network says which class each is of."""

    name = "mixed"
    params: Mapping[str, object] = {}
    metrics: tuple[str, ...] = ("error", "spread")
    splits: tuple[str, ...] = ("search", "test")
    trainable = True
    needs: str | None = None
    defaults: Mapping[str, Value] = {}
    digest = "5" * 64

    def __init__(self) -> None:
        # costs are not what it is for
        layers = tuple(Layer(name=n, k=4, n=4, dynamic=n == "scores") for n in LAYERS)
        self.shape = NetworkShape(layers=layers)

    def prepare(self, progress: Progress) -> None:
        progress("nothing to prepare", 1, 1)

    def model(self) -> nn.Module:
        generator = torch.Generator().manual_seed(0)
        model = MixedModel()
        for parameter in model.parameters():
            nn.init.normal_(parameter, 0.0, 0.4, generator=generator)
        return model.eval()

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        return [(one,) for one in torch.split(images("calibration"), 2)]

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        with torch.no_grad():
            truth = self.model()(images(split)).argmax(-1)
            # an odd last batch
            scores = torch.cat([model(part) for part in torch.split(images(split), 8)])
        wrong = (scores.argmax(-1) != truth).double().mean()
        return {"error": 100.0 * float(wrong), "spread": float(scores.double().std())}

    def lessons(self, progress: Progress) -> Lessons:
        return Lessons(batches=self._batches, loss=_loss, learning_rate=1e-2, look=5)

    def _batches(self, random: np.random.Generator) -> Iterator[tuple[Tensor, ...]]:
        teacher = self.model()
        while True:
            batch = torch.from_numpy(random.standard_normal((16, 2, 8, 8), dtype=np.float32))
            with torch.no_grad():
                labels = teacher(batch).argmax(-1)
            yield batch, labels


def images(split: str) -> Tensor:
    generator = torch.Generator().manual_seed(_SAMPLES[split])
    return torch.randn(_SAMPLES[split], 2, 8, 8, generator=generator)


def everywhere(bits: int, **words: str) -> Choices:
    """A design that says the same at every layer."""
    values: dict[str, Value] = {"w_bits": bits, "a_bits": bits, **words}
    return {knob: dict.fromkeys(LAYERS, value) for knob, value in values.items()}


def _loss(model: nn.Module, batch: tuple[Tensor, ...], generator: torch.Generator) -> Tensor:
    return nn.functional.cross_entropy(model(batch[0]), batch[1])
