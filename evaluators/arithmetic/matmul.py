from typing import final

import torch
from torch import Tensor, nn


@final
class MatMul(nn.Module):
    """The product of two activations, as a module that can be named, traced and quantized."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Return a (..., m, k) times b (..., k, n), with the broadcasting of `torch.matmul`."""
        return torch.matmul(a, b)
