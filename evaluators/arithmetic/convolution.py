"""Integer convolutions in floating point, exact as `evaluators.arithmetic.products` says.

That holds for algorithms that multiply codes and add the products. Winograd and Fourier
transforms multiply sums of codes with fractions: they are kept out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evaluators.arithmetic.settings import in_full

# Elements that a library may lay out at once to make a convolution a matrix product: 128 MiB.
_MOST_COLUMNS = 2**24

_CONVOLUTIONS: dict[int, Callable[..., Tensor]] = {1: functional.conv1d, 2: functional.conv2d}


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How a kernel of 1 or 2 dimensions moves; padding is the real 0, whose centred code is 0.

    Attributes:
        stride, dilation: a figure a dimension.
        padding: zeros on either side, a figure a dimension; "same" or "valid".
        groups: independent convolutions side by side.
    """

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...] | str
    groups: int

    def convolve(self, inputs: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the convolution in floats, by any algorithm."""
        margins = self.margins(weights.shape[2:])
        padding = [before for before, _ in margins]
        if any(before != after for before, after in margins):
            ends = [end for margin in reversed(margins) for end in margin]
            inputs, padding = functional.pad(inputs, ends), [0 for _ in margins]
        return _CONVOLUTIONS[len(margins)](
            inputs, weights, bias, self.stride, padding, self.dilation, self.groups
        )

    def pointwise(self, weights: Tensor) -> bool:
        """Tell whether it is a matrix product of the channels of each place by itself."""
        ones = (1,) * (weights.dim() - 2)
        margins = self.margins(ones)
        unpadded = all(margin == (0, 0) for margin in margins)
        return weights.shape[2:] == ones and self.stride == ones and self.groups == 1 and unpadded

    def margins(self, kernel: Sequence[int]) -> list[tuple[int, int]]:
        """Return the zeros before and after, of each dimension."""
        if self.padding == "same":
            reach = [d * (k - 1) for d, k in zip(self.dilation, kernel, strict=True)]
            return [(far // 2, far - far // 2) for far in reach]
        if isinstance(self.padding, str):
            return [(0, 0) for _ in kernel]
        return [(margin, margin) for margin in self.padding]


def integer_convolution(inputs: Tensor, weights: Tensor, window: Window) -> Tensor:
    """Return the convolution of centred codes: integers held as floats.

    Args:
        inputs: (batch, c, *size) or (c, *size).
        weights: (n, c / groups, *kernel), of the same dtype: that which `exact_dtype` gives.
    """
    with in_full(), torch.backends.nnpack.flags(enabled=False):
        if inputs.dim() < weights.dim():
            return window.convolve(inputs, _plain(weights))
        size = max(1, _MOST_COLUMNS // max(1, _columns(inputs, weights, window)))
        parts = [window.convolve(part, _plain(weights)) for part in torch.split(inputs, size)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def integer_convolution_oracle(
    inputs: Tensor, weights: Tensor, window: Window
) -> NDArray[np.int64]:
    """Return the same convolution of a batch, slowly, in 64-bit integers."""
    kernel = weights.shape[2:]
    x = np.pad(inputs.numpy().astype(np.int64), [(0, 0), (0, 0), *window.margins(kernel)])
    w = weights.numpy().astype(np.int64)
    reach = [d * (k - 1) for d, k in zip(window.dilation, kernel, strict=True)]
    size = [
        (whole - far - 1) // step + 1
        for whole, far, step in zip(x.shape[2:], reach, window.stride, strict=True)
    ]
    n, k = w.shape[0] // window.groups, w.shape[1]
    total = np.zeros((x.shape[0], w.shape[0], *size), dtype=np.int64)
    for channel, inner in product(range(w.shape[0]), range(k)):
        source = x[:, channel // n * k + inner]
        for at in product(*map(range, kernel)):
            taken = tuple(
                slice(i * d, i * d + (count - 1) * step + 1, step)
                for i, d, count, step in zip(at, window.dilation, size, window.stride, strict=True)
            )
            total[:, channel] += source[(slice(None), *taken)] * w[(channel, inner, *at)]
    return total


def _plain(weights: Tensor) -> Tensor:
    # On ARM, torch takes a Winograd algorithm for depthwise 3 x 3 kernels, contiguous ones only.
    if weights.shape[1:] == (1, 3, 3):
        return functional.pad(weights, (0, 1))[..., :-1]
    return weights


def _columns(inputs: Tensor, weights: Tensor, window: Window) -> int:
    places = prod(
        -(-size // step) for size, step in zip(inputs.shape[2:], window.stride, strict=True)
    )
    return inputs.shape[1] * prod(weights.shape[2:]) * places
