"""EfficientNet-Lite0, its batch normalization folded into the convolutions.

Tan and Le 2019 ("EfficientNet"), table 1, as changed in the "Lite" variants: no squeeze and
excitation, ReLU6 for swish, stem and head not scaled. Weights come in TensorFlow's conventions:
padding "same" by the input's size, epsilon 0.001.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.design import NetworkShape
from dse.errors import EvaluationError
from evaluators.models.tracing import trace

SIDE: Final = 224
"""Of the pictures that it takes, in pixels."""

CLASSES: Final = 1000

_EPSILON = 1e-3
_STEM, _HEAD = 32, 1280
# Blocks, kernel, stride of the first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Ours -> the file's convolution and normalization.
_WITHIN_BLOCK = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


@final
class EfficientNetLite0(nn.Module):
    """The network: (batch, 3, 224, 224) to scores (batch, 1000). Its layers are `stem`,
    `blocks.N.expand`, `blocks.N.depthwise`, `blocks.N.project`, `head` and `classifier`."""

    def __init__(self) -> None:
        """Make the network with all weights 0: `fold` gives those to load."""
        super().__init__()
        self.stem = _convolution(3, _STEM, kernel=3, stride=2)
        self.blocks = nn.Sequential(*_blocks())
        self.head = _convolution(_STAGES[-1][-1], _HEAD)
        self.classifier = nn.Linear(_HEAD, CLASSES, device="meta")
        self.to_empty(device="cpu")
        with torch.no_grad():
            for weights in self.parameters():
                weights.zero_()

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.blocks(functional.relu6(self.stem(_same(pictures, self.stem))))
        scores: Tensor = self.classifier(functional.relu6(self.head(x)).mean((2, 3)))
        return scores


def normalized(pixels: Tensor) -> Tensor:
    """Return what the network takes, of pixels 0..255: (batch, 3, 224, 224) both."""
    return (pixels.float() - 127) / 128


def fold(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of an `EfficientNetLite0`: convolutions, each with the batch
    normalization behind it as scale and bias.

    Args:
        state: a state dict with the names of the package efficientnet-lite-pytorch.

    Raises:
        EvaluationError: a tensor that is missing, of another shape, or not finite.
    """
    folded: dict[str, Tensor] = {}
    ours = {name: tuple(tensor.shape) for name, tensor in EfficientNetLite0().state_dict().items()}
    for layer, (convolution, norm) in _sources().items():
        shape = ours[f"{layer}.weight"]
        weight = _read(state, f"{convolution}.weight", shape)
        scale, shift, mean, variance = (
            _read(state, f"{norm}.{part}", shape[:1]).double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / (variance + _EPSILON).sqrt()
        folded[f"{layer}.weight"] = (weight.double() * gain[:, None, None, None]).float()
        folded[f"{layer}.bias"] = (shift - mean * gain).float()
    for part in ("weight", "bias"):
        name = f"classifier.{part}"
        folded[name] = _read(state, f"_fc.{part}", ours[name]).clone()
    for name, tensor in folded.items():
        if not bool(tensor.isfinite().all()):
            raise EvaluationError(f"weights of {name} must be finite, got NaN or infinity")
    return folded


@cache
def shape() -> NetworkShape:
    """Return the layers, found in a network without weights."""
    traced = trace(EfficientNetLite0(), (torch.zeros(1, 3, SIDE, SIDE),)).shape
    # What a strided convolution reads begins with padding, which nobody has to fetch.
    layers = tuple(
        replace(
            layer,
            input_elements=layer.k // layer.kernel**2 * layer.groups * layer.m * layer.stride**2,
        )
        for layer in traced.layers
    )
    return replace(traced, layers=layers)


@final
class _Block(nn.Module):
    """Expansion, depthwise convolution and linear projection; with a residual connection where
    input and output have one shape."""

    def __init__(
        self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _convolution(inputs, inner) if expansion > 1 else None
        self.depthwise = _convolution(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self.project = _convolution(inner, outputs)
        self._residual = stride == 1 and inputs == outputs

    def forward(self, given: Tensor) -> Tensor:
        x = given if self.expand is None else functional.relu6(self.expand(given))
        x = functional.relu6(self.depthwise(_same(x, self.depthwise)))
        projected: Tensor = self.project(x)
        return projected + given if self._residual else projected


def _blocks() -> Iterator[_Block]:
    inputs = _STEM
    for count, kernel, stride, expansion, outputs in _STAGES:
        for number in range(count):
            yield _Block(
                inputs,
                outputs,
                expansion=expansion,
                kernel=kernel,
                stride=1 if number else stride,
            )
            inputs = outputs


def _convolution(
    inputs: int, outputs: int, *, kernel: int = 1, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    padding = (kernel - 1) // 2 if stride == 1 else 0
    # On device meta nothing is drawn for weights that come from elsewhere.
    return nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=padding, groups=groups, device="meta"
    )


def _same(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """Pad an input of even side as TensorFlow does before a step of 2: the odd zero behind."""
    if convolution.stride == (1, 1):
        return x
    total = convolution.kernel_size[0] - 2
    before, after = total // 2, total - total // 2
    return functional.pad(x, (before, after, before, after))


def _sources() -> dict[str, tuple[str, str]]:
    """Return layer -> the file's names of convolution and normalization."""
    found = {"stem": ("_conv_stem", "_bn0")}
    for number in range(sum(count for count, *_ in _STAGES)):
        for ours, (convolution, norm) in _WITHIN_BLOCK.items():
            # The first block, the only one of expansion 1, has none.
            if number or ours != "expand":
                at = f"_blocks.{number}"
                found[f"blocks.{number}.{ours}"] = (f"{at}.{convolution}", f"{at}.{norm}")
    return found | {"head": ("_conv_head", "_bn1")}


def _read(state: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = state.get(name)
    if tensor is None:
        raise EvaluationError(f"weights of EfficientNet-Lite0 must have {name}, got none")
    if tuple(tensor.shape) != shape:
        raise EvaluationError(f"weights {name} must have shape {shape}, got {tuple(tensor.shape)}")
    if not bool(tensor.isfinite().all()):
        raise EvaluationError(f"weights {name} must be finite, got NaN or infinity")
    return tensor
