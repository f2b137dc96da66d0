"""A state dict as the package of the weights has it, with drawn values."""

import torch
from torch import Tensor

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Of EfficientNet's table 1: blocks, kernel, stride, expansion, channels."""


def draw_state(seed: int = 0) -> dict[str, Tensor]:
    """Return the 295 tensors without counters that the file has, by the names that it has."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def add(convolution: str, norm: str, *size: int) -> None:
        fan = size[1] * size[2] * size[3]
        state[f"{convolution}.weight"] = torch.randn(size, generator=random) * (2 / fan) ** 0.5
        for part in ("weight", "running_var"):
            state[f"{norm}.{part}"] = torch.rand(size[0], generator=random) + 0.5
        for part in ("bias", "running_mean"):
            state[f"{norm}.{part}"] = torch.randn(size[0], generator=random) * 0.2

    add("_conv_stem", "_bn0", 32, 3, 3, 3)
    inputs, number = 32, 0
    for count, kernel, _, expansion, outputs in STAGES:
        for _ in range(count):
            at, inner = f"_blocks.{number}", inputs * expansion
            if expansion > 1:
                add(f"{at}._expand_conv", f"{at}._bn0", inner, inputs, 1, 1)
            add(f"{at}._depthwise_conv", f"{at}._bn1", inner, 1, kernel, kernel)
            add(f"{at}._project_conv", f"{at}._bn2", outputs, inner, 1, 1)
            inputs, number = outputs, number + 1
    add("_conv_head", "_bn1", 1280, 320, 1, 1)
    state["_fc.weight"] = torch.randn(1000, 1280, generator=random) * 0.03
    state["_fc.bias"] = torch.randn(1000, generator=random) * 0.1
    return state
