"""A small vision transformer for images of 8 x 8 pixels."""

import torch
from torch import Tensor, nn

from digits_workload.images import CLASSES

_PATCH = 2
_TOKENS = 16


class Block(nn.Module):
    """Attention over the patches, then two linear layers, each beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.inner_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (batch, tokens, width) to new ones of the same shape."""
        split = self.qkv(self.attention_norm(tokens)).unflatten(-1, (3, self.heads, -1))
        q, k, v = split.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        tokens = tokens + self.project(mixed.transpose(1, 2).flatten(2))
        inner = nn.functional.gelu(self.widen(self.inner_norm(tokens)))
        return tokens + self.narrow(inner)


class VisionTransformer(nn.Module):
    """Patches of 2 x 2 pixels with learned positions, blocks, and a linear layer on their mean."""

    def __init__(self, width: int, *, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, _PATCH, stride=_PATCH)
        self.positions = nn.Parameter(0.02 * torch.randn(_TOKENS, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.classify = nn.Linear(width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, 1, 8, 8) to scores (batch, classes)."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        return self.classify(self.norm(self.blocks(tokens)).mean(1))
