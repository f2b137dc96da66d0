"""Workloads `digits-resnet` and `digits-vit`: two networks on scikit-learn's digits."""

from collections.abc import Callable, Mapping
from typing import cast

from torch import nn

from digits_workload.images import digits, fit
from digits_workload.residual import ResidualNetwork
from digits_workload.transformer import VisionTransformer
from evaluators.registry import workload
from evaluators.workloads.definition import Definition


@workload(
    "digits-resnet",
    summary="scikit-learn's digits, a residual convolutional network",
    params={"width": 12},
)
def digits_resnet(params: Mapping[str, object]) -> Definition:
    """Make the workload.

    Args:
        params: `width`: channels of the first block.
    """
    width = cast(int, params["width"])
    return _learned(lambda: ResidualNetwork(width), epochs=12, rate=1e-2)


@workload(
    "digits-vit",
    summary="scikit-learn's digits, a vision transformer",
    params={"width": 32},
)
def digits_vit(params: Mapping[str, object]) -> Definition:
    """Make the workload.

    Args:
        params: `width`: of a token; a multiple of 4, the number of heads.
    """
    width = cast(int, params["width"])
    return _learned(lambda: VisionTransformer(width), epochs=30, rate=3e-3)


def _learned(model: Callable[[], nn.Module], *, epochs: int, rate: float) -> Definition:
    data = digits()
    train = data["train"]
    return Definition(
        model=model,
        fit=lambda made, progress: fit(made, train, progress, epochs=epochs, rate=rate),
        calibration=[images for images, _ in train[:4]],
        search=data["search"],
        test=data["test"],
        train=train,
        metric="top1-error",
    )
