"""A small vision transformer (Dosovitskiy et al., An Image Is Worth 16x16 Words, 2020)."""

from collections import OrderedDict
from typing import Final, final

import torch
from torch import Tensor, nn

from evaluators.models.attention import ScaledDotProduct

_SIDE: Final = 28
_PATCH: Final = 4
_CLASSES: Final = 10


@final
class Attention(nn.Module):
    """Attention of several heads over tokens (batch, tokens, width); its products of activations
    are the modules `sdpa.qk` and `sdpa.av`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.sdpa = ScaledDotProduct()
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Return what `tokens` find in `context` (batch, others, width): (batch, tokens, width)"""
        heads = (
            projected.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projected in (self.q(tokens), self.k(context), self.v(context))
        )
        found: Tensor = self.out(self.sdpa(*heads).transpose(1, 2).flatten(2))
        return found


@final
class Block(nn.Module):
    """Attention and a feed-forward part, each behind a layer normalization."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.f1 = nn.Linear(width, inner)
        self.activation = nn.GELU()
        self.f2 = nn.Linear(inner, width)

    def forward(self, tokens: Tensor) -> Tensor:
        normal = self.norm1(tokens)
        tokens = tokens + self.attention(normal, normal)
        fed: Tensor = self.f2(self.activation(self.f1(self.norm2(tokens))))
        return tokens + fed


@final
class VisionTransformer(nn.Module):
    """Takes (batch, 1, 28, 28) in patches of 4 x 4 pixels, returns scores (batch, 10) from the
    mean of its tokens."""

    def __init__(self, *, width: int = 64, heads: int = 4, depth: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, _PATCH, stride=_PATCH)
        tokens = (_SIDE // _PATCH) ** 2
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, width))
        self.blocks = nn.Sequential(
            OrderedDict((f"b{i}", Block(width, heads, 2 * width)) for i in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, _CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.patches(pictures).flatten(2).transpose(1, 2) + self.positions
        scores: Tensor = self.head(self.norm(self.blocks(tokens)).mean(1))
        return scores
