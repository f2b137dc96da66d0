"""A network of one's own on scikit-learn's digits, found by `--plugin my_workload.py`."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from evaluators.registry import workload
from evaluators.workloads.definition import Definition

IMAGES, LABELS = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
PAIRS = list(zip((IMAGES.float() / 16).split(64), LABELS.split(64), strict=True))


def fit(model: nn.Module) -> None:
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(20):
        for images, labels in PAIRS[:16]:
            adam.zero_grad()
            torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
            adam.step()


@workload("digits-mlp", summary="scikit-learn's digits, two linear layers")
def digits_mlp() -> Definition:
    return Definition(
        model=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        fit=fit,
        calibration=[images for images, _ in PAIRS[:4]],
        search=PAIRS[16:22],
        test=PAIRS[22:],
        train=PAIRS[:16],
        metric="top1-error",
    )
