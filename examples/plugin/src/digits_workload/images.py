"""scikit-learn's digits, and how a network learns them."""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from dse.ports import Progress

CLASSES = 10
_BATCH = 64
_TRAIN, _SEARCH = 1200, 300

Batches = list[tuple[Tensor, Tensor]]


def digits() -> dict[str, Batches]:
    """Return "train", "search" and "test" batches: images (batch, 1, 8, 8) within 0 .. 1, labels
    (batch,)."""
    values, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(values).float().reshape(-1, 1, 8, 8)[order] / 16.0
    sizes = [_TRAIN, _SEARCH, len(labels) - _TRAIN - _SEARCH]
    parts = zip(images.split(sizes), torch.from_numpy(labels)[order].split(sizes), strict=True)
    names = ("train", "search", "test")
    return {name: _batches(*part) for name, part in zip(names, parts, strict=True)}


def fit(
    model: nn.Module, batches: Batches, progress: Progress, *, epochs: int, rate: float
) -> None:
    """Train a model in place.

    Args:
        rate: the highest learning rate of AdamW.
    """
    steps = epochs * len(batches)
    adam = torch.optim.AdamW(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=rate, total_steps=steps)
    model.train()
    for step in range(steps):
        images, labels = batches[step % len(batches)]
        adam.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
        adam.step()
        schedule.step()
        progress("training", step + 1, steps)
    model.eval()


def _batches(images: Tensor, labels: Tensor) -> Batches:
    return list(zip(images.split(_BATCH), labels.split(_BATCH), strict=True))
