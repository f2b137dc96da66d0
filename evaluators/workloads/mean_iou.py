"""The error of a segmentation: what its mean intersection over union lacks to 100 %."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def mean_iou(confusion: Tensor) -> float:
    """Return the mean over classes of intersection / union, 0 to 1.

    Classes that neither labels nor predictions have are left out.

    Args:
        confusion: int64 (classes, classes), pixels by label and prediction, not all 0.
    """
    both = confusion.diagonal().double()
    either = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
    there = either > 0
    return float((both[there] / either[there]).mean())


def confusion_of(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Return how many pixels of each class are predicted as which, over all batches: int64
    (classes, classes).

    Args:
        model: returns scores (batch, classes, height, width).
        batches: pictures, and classes (batch, height, width).
    """
    total: Tensor | None = None
    for pictures, labels in batches:
        scores = model(pictures)
        classes = scores.shape[1]
        pairs = (labels * classes + scores.argmax(1)).flatten()
        counts = torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
        total = counts if total is None else total + counts
    if total is None:
        raise ValueError("a confusion takes at least one batch")
    return total


def segmentation_error(model: nn.Module, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
    """Return 100 - mIoU, %."""
    return 100.0 * (1.0 - mean_iou(confusion_of(model, batches)))
