"""What a network's outputs are worth, sample by sample: metrics by name, and their mean."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, final

import torch
from torch import Tensor

from dse.errors import EvaluationError

Metric = Callable[[Any, Tensor], Tensor | float]
"""Of outputs (whatever the model returns, hence Any) and targets (batch, …): one figure a sample,
(batch,), or one for all samples of the batch."""


def top_error(outputs: Any, targets: Tensor, *, among: int) -> Tensor:
    """Return the share of wrong classes in each sample, %: (batch,).

    Args:
        outputs: scores (batch, classes, …).
        targets: classes (batch, …), integers.
        among: a class counts as right if it is among that many of highest score.

    Raises:
        EvaluationError: other shapes, or targets that are no classes.
    """
    scores = _tensor(f"top{among}-error", outputs)
    rest = (*scores.shape[:1], *scores.shape[2:])
    if scores.dim() < 2 or targets.shape != rest or targets.is_floating_point():
        raise EvaluationError(
            f"top{among}-error needs outputs (batch, classes, ...) and integer targets "
            f"(batch, ...), got {_told(scores)} and {_told(targets)}"
        )
    classes = scores.shape[1]
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < classes:
        raise EvaluationError(
            f"targets must be classes 0 .. {classes - 1}, got {int(targets.min())} .. "
            f"{int(targets.max())}"
        )
    best = scores.topk(min(among, classes), dim=1).indices
    wrong = (best != targets.unsqueeze(1)).all(1)
    return 100.0 * wrong.double().flatten(1).mean(1) if wrong.dim() > 1 else 100.0 * wrong.double()


def squared_error(outputs: Any, targets: Tensor) -> Tensor:
    """Return the mean squared error of each sample: (batch,).

    Raises:
        EvaluationError: outputs and targets differ in shape.
    """
    values = _tensor("mse", outputs)
    if values.shape != targets.shape or values.dim() == 0:
        raise EvaluationError(
            "mse needs outputs and targets of one shape (batch, ...), got "
            f"{_told(values)} and {_told(targets)}"
        )
    return (values.double() - targets.double()).square().reshape(len(targets), -1).mean(1)


METRICS: Final[Mapping[str, Metric]] = {
    "top1-error": partial(top_error, among=1),
    "top5-error": partial(top_error, among=5),
    "mse": squared_error,
}


@final
class Mean:
    """The mean of a metric over samples, however they are batched."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._sum = 0.0
        self._samples = 0

    def add(self, outputs: Any, targets: Tensor) -> None:
        """Count a batch.

        Raises:
            EvaluationError: the metric returned another shape, or cannot take these.
        """
        figures = torch.as_tensor(self._metric(outputs, targets), dtype=torch.float64)
        samples = len(targets)
        if figures.dim() == 0:
            self._sum += float(figures) * samples
        elif figures.shape == (samples,):
            self._sum += float(figures.sum())
        else:
            raise EvaluationError(
                f"the metric must return one figure, or one a sample ({samples},), got "
                f"{tuple(figures.shape)}"
            )
        self._samples += samples

    @property
    def value(self) -> float:
        return self._sum / self._samples


def _tensor(metric: str, outputs: Any) -> Tensor:
    if not isinstance(outputs, Tensor):
        raise EvaluationError(
            f"{metric} takes a model that returns a tensor, got {type(outputs).__name__}; "
            "allowed: a metric of your own"
        )
    return outputs


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
