"""A small SegFormer (Xie et al., SegFormer: Simple and Efficient Design for Semantic Segmentation
with Transformers, 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from evaluators.models.vit import Attention

_CLASSES: Final = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSize:
    """Sizes of a stage.

    Attributes:
        patch: pixels of a patch's edge; patches overlap where it is larger than `stride`.
        heads: of attention.
        reduction: keys and values are of patches of that many tokens' edge.
        depth: blocks.
    """

    width: int
    patch: int
    stride: int
    heads: int
    reduction: int
    depth: int


STAGES: Final = (
    StageSize(width=32, patch=7, stride=4, heads=1, reduction=4, depth=1),
    StageSize(width=64, patch=3, stride=2, heads=2, reduction=2, depth=2),
    StageSize(width=96, patch=3, stride=2, heads=3, reduction=1, depth=1),
)


@final
class EfficientAttention(nn.Module):
    """Attention whose keys and values are of fewer tokens (section 3.1, "efficient
    self-attention"): a convolution joins those of a patch."""

    def __init__(self, size: StageSize) -> None:
        super().__init__()
        width = size.width
        self.attention = Attention(width, size.heads)
        self.reduce = (
            nn.Conv2d(width, width, size.reduction, stride=size.reduction)
            if size.reduction > 1
            else None
        )
        self.norm = nn.LayerNorm(width) if size.reduction > 1 else None

    def forward(self, tokens: Tensor, height: int) -> Tensor:
        """Return (batch, tokens, width) of such tokens, the rows of a map of `height` rows."""
        context = tokens
        if self.reduce is not None and self.norm is not None:
            context = self.norm(_tokens(self.reduce(_map(tokens, height))))
        found: Tensor = self.attention(tokens, context)
        return found


@final
class MixFeedForward(nn.Module):
    """Two products with a depthwise convolution between them, which tells tokens where they are
    (equation 3)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.f1 = nn.Linear(width, inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.activation = nn.GELU()
        self.f2 = nn.Linear(inner, width)

    def forward(self, tokens: Tensor, height: int) -> Tensor:
        mixed = _tokens(self.depthwise(_map(self.f1(tokens), height)))
        fed: Tensor = self.f2(self.activation(mixed))
        return fed


@final
class Block(nn.Module):
    """Efficient attention and a feed-forward part, each behind a layer normalization."""

    def __init__(self, size: StageSize) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(size.width)
        self.attention = EfficientAttention(size)
        self.norm2 = nn.LayerNorm(size.width)
        self.feed = MixFeedForward(size.width, 2 * size.width)

    def forward(self, tokens: Tensor, height: int) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens), height)
        fed: Tensor = self.feed(self.norm2(tokens), height)
        return tokens + fed


@final
class Stage(nn.Module):
    """Overlapping patches and blocks on them: (batch, channels, height, width) to (batch, width
    of the stage, height / stride, width / stride)."""

    def __init__(self, channels: int, size: StageSize) -> None:
        super().__init__()
        self.patches = nn.Conv2d(
            channels, size.width, size.patch, stride=size.stride, padding=size.patch // 2
        )
        self.norm1 = nn.LayerNorm(size.width)
        self.blocks = nn.ModuleList([Block(size) for _ in range(size.depth)])
        self.norm2 = nn.LayerNorm(size.width)

    def forward(self, features: Tensor) -> Tensor:
        patches = self.patches(features)
        height = patches.shape[2]
        tokens = self.norm1(_tokens(patches))
        for block in self.blocks:
            tokens = block(tokens, height)
        return _map(self.norm2(tokens), height)


@final
class SegFormer(nn.Module):
    """Takes (batch, 1, 64, 64), returns scores (batch, 11, 64, 64).

    The head joins all stages at a quarter of the resolution; its scores are interpolated.
    """

    def __init__(self, stages: Sequence[StageSize] = STAGES, *, head: int = 64) -> None:
        super().__init__()
        channels = [1, *(size.width for size in stages)]
        self.stages = nn.ModuleList(
            [Stage(before, size) for before, size in zip(channels, stages, strict=False)]
        )
        self.joins = nn.ModuleList([nn.Linear(size.width, head) for size in stages])
        self.fuse = nn.Linear(head * len(stages), head)
        self.activation = nn.ReLU()
        self.classify = nn.Linear(head, _CLASSES)

    def forward(self, pictures: Tensor) -> Tensor:
        features, joined = pictures, []
        for stage, join in zip(self.stages, self.joins, strict=True):
            features = stage(features)
            joined.append(_map(join(_tokens(features)), features.shape[2]))
        quarter = joined[0].shape[2:]
        maps = [joined[0], *(_enlarged(one, quarter) for one in joined[1:])]
        fused = self.activation(self.fuse(_tokens(torch.cat(maps, dim=1))))
        scores = _map(self.classify(fused), quarter[0])
        return _enlarged(scores, pictures.shape[2:])


def _tokens(features: Tensor) -> Tensor:
    return features.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, height: int) -> Tensor:
    batch, count, width = tokens.shape
    return tokens.transpose(1, 2).reshape(batch, width, height, count // height)


def _enlarged(features: Tensor, size: torch.Size) -> Tensor:
    return interpolate(features, size=size, mode="bilinear", align_corners=False)
