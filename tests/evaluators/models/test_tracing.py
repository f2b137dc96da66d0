import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from dse.design import Layer
from evaluators.arithmetic.matmul import MatMul
from evaluators.models.sru import SruTagger, shape
from evaluators.models.tracing import trace
from tests.evaluators.models.layers import conv, linear, product
from tests.evaluators.models.networks import (
    Encoder,
    ResidualNet,
    VisionBlock,
    depthwise,
    lenet,
    mlp,
    noise,
)


def test_layers_of_an_mlp() -> None:
    traced = trace(mlp(), (noise(1, 6),))

    assert traced.shape.layers == (linear("0", 6, 10, "3"), linear("3", 10, 3))
    assert traced.shape.vector_parameters == 13
    assert traced.shape.elementwise_operations == 10
    assert traced.floats == ()


def test_layers_of_lenet() -> None:
    traced = trace(lenet(), (noise(1, 1, 32, 32),))

    assert traced.shape.layers == (
        conv("0", 28 * 28, 25, 6, 5, 32 * 32, "3"),
        conv("3", 10 * 10, 150, 16, 5, 6 * 14 * 14, "7"),
        linear("7", 400, 120, "9"),
        linear("9", 120, 84, "11"),
        linear("11", 84, 10),
    )
    assert traced.shape.vector_parameters == 6 + 16 + 120 + 84 + 10
    # tanh and pooling of both feature maps, tanh of both vectors
    assert traced.shape.elementwise_operations == 2 * (4704 + 1600) + 120 + 84


def test_layers_of_a_residual_network() -> None:
    traced = trace(ResidualNet(), (noise(1, 3, 8, 8),))

    after_sum = ("block2.conv1", "block2.shortcut")
    assert traced.shape.layers == (
        conv("stem", 64, 27, 4, 3, 192, "block1.conv1", *after_sum),
        conv("block1.conv1", 64, 36, 4, 3, 256, "block1.conv2"),
        conv("block1.conv2", 64, 36, 4, 3, 256, *after_sum),
        replace(conv("block2.conv1", 16, 36, 8, 3, 256, "block2.conv2"), stride=2),
        conv("block2.conv2", 16, 72, 8, 3, 128, "head"),
        replace(conv("block2.shortcut", 16, 4, 8, 1, 256, "head"), stride=2),
        linear("head", 8, 5),
    )
    assert traced.shape.vector_parameters == 4 + 2 * 8 + 2 * 16 + 5
    # the stem's relu; norm, relu, norm, sum, relu of either block; the mean
    assert traced.shape.elementwise_operations == 256 + 5 * 256 + 5 * 128 + 128


def test_layers_of_a_depthwise_network() -> None:
    traced = trace(depthwise(), (noise(1, 3, 9, 9),))

    assert traced.shape.layers == (
        replace(conv("0", 16, 27, 8, 3, 243, "2"), stride=2),
        replace(conv("2", 16, 3, 1, 3, 128, "4"), groups=8, window=3),
        replace(conv("4", 16, 2, 3, 1, 128, "7"), groups=4),
        linear("7", 12, 2),
    )
    assert [layer.depthwise for layer in traced.shape.layers] == [False, True, False, False]
    assert traced.shape.layers[1].weights == 24
    assert traced.shape.vector_parameters == 8 + 8 + 16 + 12 + 2


def test_layers_of_a_transformer_encoder() -> None:
    traced = trace(Encoder(), (torch.tensor([[3, 1, 4, 1, 5]]),))

    def block(i: int, then: tuple[str, ...]) -> list[Layer]:
        at = f"encoder.layers.{i}"
        attention = f"{at}.self_attn"
        return [
            linear(f"{attention}.q_proj", 8, 8, f"{attention}.qk", m=5),
            linear(f"{attention}.k_proj", 8, 8, f"{attention}.qk", m=5),
            linear(f"{attention}.v_proj", 8, 8, f"{attention}.av", m=5),
            product(f"{attention}.qk", 5, 4, 5, 2, f"{attention}.av"),
            product(f"{attention}.av", 5, 5, 4, 2, f"{attention}.out_proj"),
            linear(f"{attention}.out_proj", 8, 8, f"{at}.linear1", *then, m=5),
            linear(f"{at}.linear1", 8, 16, f"{at}.linear2", m=5),
            linear(f"{at}.linear2", 16, 8, *then, m=5),
        ]

    second = [f"encoder.layers.1.self_attn.{name}_proj" for name in "qkv"]
    assert traced.shape.layers == (
        *block(0, (*second, "encoder.layers.1.linear1", "head")),
        *block(1, ("head",)),
        linear("head", 8, 3),
    )
    assert traced.floats == ()
    # two encoder layers' biases and norms, the embedding and the head's bias
    assert traced.shape.vector_parameters == 2 * (4 * 8 + 16 + 8 + 32) + 88 + 3


def test_layers_of_a_bidirectional_sru() -> None:
    model = SruTagger(inputs=80, classes=40, generator=torch.Generator(), hidden=16, projected=8)
    known = shape(80, 40, hidden=16, projected=8)

    traced = trace(model, (noise(1, 7, 80),))

    # The file counts one frame and tells nearest readers; highways lead to later ones as well.
    frames = tuple(
        replace(layer, m=1, input_elements=layer.k, consumers=layer.consumers[:1])
        for layer in traced.shape.layers
    )
    assert frames == known.layers
    assert {layer.m for layer in traced.shape.layers} == {7}
    assert traced.shape.layers[0].consumers == ("P1", "P2", "P3", "FC")
    assert traced.shape.vector_parameters == known.vector_parameters
    # A unit takes 16 operations, done by 8: torch multiplies, adds and interpolates in one.
    assert traced.shape.elementwise_operations == known.elementwise_operations * 7 // 2
    assert traced.floats == ()


@pytest.mark.parametrize(
    ("make", "given"),
    [
        (mlp, (4, 6)),
        (lenet, (2, 1, 32, 32)),
        (ResidualNet, (2, 3, 8, 8)),
        (depthwise, (2, 3, 9, 9)),
    ],
)
def test_tracing_leaves_every_bit_of_the_output(
    make: Callable[[], nn.Module], given: tuple[int, ...]
) -> None:
    model = make().eval()
    x = noise(*given)
    state = torch.get_rng_state()
    with torch.no_grad():
        before = model(x)

    trace(model, (x[:1],))

    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad():
        torch.testing.assert_close(model(x), before, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tracing_keeps_the_output_of_an_encoder() -> None:
    model = Encoder().eval()
    tokens = torch.randint(1, 11, (4, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model(tokens)

    trace(model, (tokens[:1],))

    with torch.no_grad():
        torch.testing.assert_close(model(tokens), before, rtol=0, atol=1e-5)


def test_functional_attention_is_led_through_products() -> None:
    model = nn.Sequential(VisionBlock(), VisionBlock()).eval()
    x = noise(3, 6, 8)
    with torch.no_grad():
        before = model(x)

    traced = trace(model, (x[:1],))

    assert traced.shape.layers[:4] == (
        linear("0.qkv", 8, 24, "0.sdpa.qk", "0.sdpa.av", m=6),
        product("0.sdpa.qk", 6, 4, 6, 2, "0.sdpa.av"),
        product("0.sdpa.av", 6, 6, 4, 2, "0.proj"),
        linear("0.proj", 8, 8, "1.qkv", m=6),
    )
    assert traced.floats == ()
    with torch.no_grad():
        torch.testing.assert_close(model(x), before, rtol=0, atol=1e-5)
        model.get_submodule("1").register_module("proj", nn.Identity())
        model.get_submodule("1.sdpa").register_module("av", _Second())
        torch.testing.assert_close(model(x), _through_values_alone(model, x))


class _Second(nn.Module):
    def forward(self, weights: Tensor, values: Tensor) -> Tensor:
        return values


def _through_values_alone(model: nn.Module, x: Tensor) -> Tensor:
    hidden: Tensor = model.get_submodule("0")(x)
    block = model.get_submodule("1")
    assert isinstance(block, VisionBlock)
    values: Tensor = block.qkv(block.norm(hidden))[..., 16:]
    return hidden + values


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.left = nn.Linear(3, 2)
        self.right = nn.Linear(3, 2)
        self.gate = nn.Linear(4, 4)
        self.head = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # Halves of one tensor, and results written into parts of another.
        left, right = self.stem(x).chunk(2, dim=-1)
        joined = x.new_empty(*x.shape[:-1], 4)
        joined[..., :2] = self.left(left.clone().t().contiguous().t())
        joined[..., 2:] = self.right(right).sigmoid_()
        gate = self.gate(x).softmax(-1)
        return self.head(joined * gate), gate


def test_consumers_follow_branches_views_and_writes_in_place() -> None:
    traced = trace(Branches(), (noise(1, 4),))

    assert {layer.name: layer.consumers for layer in traced.shape.layers} == {
        "stem": ("left", "right"),
        "left": ("head",),
        "right": ("head",),
        "gate": ("head",),
        "head": (),
    }


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(3, 4)
        self.step = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.enter(x[:, 0])
        for _ in range(x.shape[1]):
            hidden = torch.tanh(self.step(hidden))
        return hidden


def test_rows_of_a_layer_used_again_add_up() -> None:
    enter, step = trace(Recurrent(), (noise(1, 5, 3),)).shape.layers

    assert (enter.m, enter.consumers) == (1, ("step",))
    assert (step.m, step.input_elements, step.consumers) == (5, 20, ("step",))


def test_a_module_of_two_names_is_one_layer() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model.insert(2, model[0])

    traced = trace(model, (noise(1, 4),))

    assert [(layer.name, layer.m) for layer in traced.shape.layers] == [("0", 2), ("3", 1)]
    assert traced.shape.vector_parameters == 6


def test_parameters_shared_between_modules_count_once() -> None:
    embed, head = nn.Embedding(7, 4), nn.Linear(4, 7)
    head.weight = embed.weight
    model = nn.Sequential(embed, nn.LayerNorm(4), head)

    traced = trace(model, (torch.tensor([[1, 2, 3]]),))

    assert traced.shape.layers == (linear("2", 4, 7, m=3),)
    assert traced.shape.vector_parameters == 8 + 7


class Scores(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.product = MatMul()
        self.register_buffer("table", noise(4, 5))

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.product(a, b), torch.zeros(1)


def test_matrices_of_a_second_operand_are_groups() -> None:
    def sizes(a: tuple[int, ...], b: tuple[int, ...]) -> Layer:
        return trace(Scores(), (noise(*a), noise(*b))).shape.layers[0]

    assert sizes((1, 2, 3, 4), (1, 2, 4, 5)) == product("product", 3, 4, 5, 2)
    assert sizes((1, 2, 3, 4), (4, 5)) == product("product", 6, 4, 5, 1)
    assert sizes((1, 6, 3, 4), (1, 1, 4, 5)) == product("product", 18, 4, 5, 1)
    assert sizes((1, 3, 4), (4,)) == product("product", 3, 4, 1, 1)
    assert sizes((3, 4), (6, 4, 5)).macs == 3 * 4 * 5 * 6


def test_inputs_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))
    x = noise(4, 1).t()
    before = x.clone()

    trace(model, (x,))

    assert torch.equal(x, before)


def test_tracing_again_finds_the_same() -> None:
    model = nn.Sequential(VisionBlock(), Encoder().encoder)

    first = trace(model, (noise(1, 6, 8),))
    again = trace(model, (noise(1, 6, 8),))

    assert (again.shape, again.floats) == (first.shape, first.floats)


def test_a_traced_network_can_be_copied() -> None:
    model = nn.Sequential(VisionBlock(), Encoder().encoder)
    trace(model, (noise(1, 6, 8),))
    twin = copy.deepcopy(model)
    x = noise(2, 6, 8)

    with torch.no_grad():
        assert torch.equal(twin(x), model(x))
        twin.get_submodule("0.sdpa").register_module("av", _Second())
        assert not torch.equal(twin(x), model(x))


def test_weights_of_one_traced_network_fit_another() -> None:
    networks = [nn.Sequential(VisionBlock(), Encoder().encoder) for _ in range(2)]
    first, second = (trace(one, (noise(1, 6, 8),)).model for one in networks)
    second.load_state_dict(first.state_dict())

    x = noise(2, 6, 8)
    with torch.no_grad():
        assert torch.equal(first(x), second(x))
