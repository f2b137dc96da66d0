import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from dse.errors import EvaluationError
from evaluators.models.efficientnet import EfficientNetLite0, fold, normalized, shape
from tests.evaluators.models.lite0_state import STAGES, draw_state


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return draw_state()


def unfolded(state: Mapping[str, Tensor], pictures: Tensor) -> Tensor:
    """The network as it is published: normalization apart, padding by TensorFlow's formula."""

    def layer(x: Tensor, at: str, norm: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{at}.weight"]
        kernel, side = weight.shape[-1], x.shape[-1]
        total = max((math.ceil(side / stride) - 1) * stride + kernel - side, 0)
        ends = (total // 2, total - total // 2) * 2
        x = functional.conv2d(functional.pad(x, ends), weight, stride=stride, groups=groups)
        mean, variance, scale, shift = (
            state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    x = functional.relu6(layer(pictures, "_conv_stem", "_bn0", stride=2))
    number = 0
    for count, _, stride, expansion, _ in STAGES:
        for first in [True] + [False] * (count - 1):
            at, given, step = f"_blocks.{number}", x, stride if first else 1
            if expansion > 1:
                x = functional.relu6(layer(x, f"{at}._expand_conv", f"{at}._bn0"))
            x = functional.relu6(
                layer(x, f"{at}._depthwise_conv", f"{at}._bn1", stride=step, groups=x.shape[1])
            )
            x = layer(x, f"{at}._project_conv", f"{at}._bn2")
            if x.shape == given.shape:
                x = x + given
            number += 1
    x = functional.relu6(layer(x, "_conv_head", "_bn1"))
    return functional.linear(x.mean((2, 3)), state["_fc.weight"], state["_fc.bias"])


def test_folded_network_computes_what_the_published_one_does(state: dict[str, Tensor]) -> None:
    pictures = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    model = EfficientNetLite0().eval()
    model.load_state_dict(fold(state))

    with torch.no_grad():
        found, expected = model(pictures), unfolded(state, pictures)

    assert found.shape == (1, 1000)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_published_parameters_are_4652008(state: dict[str, Tensor]) -> None:
    trained = {name: one for name, one in state.items() if name.endswith(("weight", "bias"))}

    assert sum(one.numel() for one in trained.values()) == 4_652_008
    # normalization has two vectors where a folded convolution has one
    channels = sum(one.numel() for name, one in state.items() if name.endswith("running_mean"))
    assert shape().weights + shape().vector_parameters == 4_652_008 - channels


def test_every_convolution_and_the_classifier_are_layers() -> None:
    layers = {layer.name: layer for layer in shape().layers}

    assert len(layers) == 50
    assert shape().macs == 385_187_552
    assert list(layers)[:3] == ["stem", "blocks.0.depthwise", "blocks.0.project"]
    assert list(layers)[-2:] == ["head", "classifier"]
    depthwise = layers["blocks.3.depthwise"]
    assert (depthwise.m, depthwise.k, depthwise.n) == (28 * 28, 25, 1)
    assert (depthwise.groups, depthwise.kernel, depthwise.stride) == (144, 5, 2)


def test_padding_is_no_input() -> None:
    layers = {layer.name: layer for layer in shape().layers}

    assert layers["stem"].input_elements == 3 * 224 * 224
    assert layers["blocks.3.depthwise"].input_elements == 144 * 56 * 56
    assert layers["blocks.4.depthwise"].input_elements == 240 * 28 * 28
    assert layers["blocks.4.project"].input_elements == 240 * 28 * 28
    assert layers["classifier"].input_elements == 1280


def test_residual_connections_have_two_readers() -> None:
    consumers = {layer.name: layer.consumers for layer in shape().layers}

    assert consumers["blocks.1.project"] == ("blocks.2.expand", "blocks.3.expand")
    assert consumers["blocks.2.project"] == ("blocks.3.expand",)
    assert consumers["blocks.15.project"] == ("head",)


def test_making_the_network_draws_nothing() -> None:
    before = torch.random.get_rng_state()

    model = EfficientNetLite0()

    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(not bool(one.any()) for one in model.parameters())


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        (
            "_blocks.7._expand_conv.weight",
            None,
            "must have _blocks.7._expand_conv.weight, got none",
        ),
        ("_bn1.running_var", None, "must have _bn1.running_var, got none"),
        ("_fc.bias", torch.zeros(10), r"_fc.bias must have shape \(1000,\), got \(10,\)"),
        ("_fc.weight", torch.full((1000, 1280), math.nan), "_fc.weight must be finite"),
        (
            "_conv_stem.weight",
            torch.full((32, 3, 3, 3), math.inf),
            "_conv_stem.weight must be fin",
        ),
        ("_bn0.running_var", torch.full((32,), -1.0), "weights of stem.weight must be finite"),
    ],
)
def test_weights_that_are_not_the_network_s_are_named(
    state: dict[str, Tensor], name: str, given: Tensor | None, message: str
) -> None:
    others = {key: one for key, one in state.items() if key != name}

    with pytest.raises(EvaluationError, match=message):
        fold(others if given is None else others | {name: given})


def test_pixels_lie_about_127() -> None:
    pixels = torch.tensor([0, 127, 255], dtype=torch.uint8)

    assert normalized(pixels).tolist() == [-127 / 128, 0.0, 1.0]
