"""Convolutions as matrix products, their reduction in the order in which an array takes it.

The order is (channel tile, kernel places, channel in the tile), after the sheets on APSQ: a run of
`tile` elements is then one place of the kernel in `tile` channels, but in the last, narrower
channel tile, whose places are cut as they come.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from evaluators.arithmetic.convolution import Window


def weight_rows(weights: Tensor, window: Window, tile: int) -> Tensor:
    """Return weights (n, c / groups, *kernel) as (groups, n / groups, k)."""
    ordered = _ordered(weights.movedim(1, -1), weights.dim() - 2, tile)
    return ordered.reshape(window.groups, -1, ordered.shape[-1])


def input_rows(
    inputs: Tensor, kernel: Sequence[int], window: Window, tile: int, *, zero: int = 0
) -> Tensor:
    """Return what each output is made of: (batch, *size, groups, k).

    Args:
        inputs: (batch, c, *size), of any dtype.
        kernel: its sides, as many as `size` has.
        zero: the code of the real 0, with which the margins are filled.
    """
    ends = [end for margin in reversed(window.margins(kernel)) for end in margin]
    # channels last: what is next to each other in the order is then so in memory
    padded = functional.pad(inputs, ends, value=zero).movedim(1, -1).contiguous()
    size = [
        (whole - d * (side - 1) - 1) // step + 1
        for whole, side, d, step in zip(
            padded.shape[1:-1], kernel, window.dilation, window.stride, strict=True
        )
    ]
    channels = padded.shape[-1] // window.groups
    along = padded.stride()[1:-1]
    taken = padded.as_strided(
        (len(padded), *size, window.groups, *kernel, channels),
        (
            padded.stride(0),
            *(stride * step for stride, step in zip(along, window.stride, strict=True)),
            channels,
            *(stride * d for stride, d in zip(along, window.dilation, strict=True)),
            1,
        ),
    )
    return _ordered(taken, len(kernel), tile)


def _ordered(places: Tensor, dimensions: int, tile: int) -> Tensor:
    """Return (…, *kernel, channels) as (…, k)."""
    lead = places.shape[: -dimensions - 1]
    channels = places.shape[-1]
    whole = channels // tile * tile
    parts = []
    if whole:
        tiles = places[..., :whole].reshape(*places.shape[:-1], whole // tile, tile)
        tiles = tiles.movedim(-2, -dimensions - 2)
        parts.append(tiles.flatten(len(lead)))
    if whole < channels:
        parts.append(places[..., whole:].flatten(len(lead)))
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
