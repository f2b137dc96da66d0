from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.errors import SpecError
from evaluators.models.exported import ExportedNetwork
from evaluators.models.tracing import trace
from tests.evaluators.models.exports import (
    Mlp,
    Residual,
    Vit,
    export,
    network_of,
    program_of,
)

pytestmark = pytest.mark.slow
IMAGE = (1, 8, 8)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("decompose", [False, True])
@pytest.mark.parametrize(
    ("make", "sample", "layers"),
    [
        (Mlp, (6,), ["layers.0", "layers.3"]),
        (Residual, IMAGE, ["stem", "deep", "down", "head"]),
    ],
)
def test_modules_stand_where_products_stood(
    tmp_path: Path,
    make: Callable[[], nn.Module],
    sample: tuple[int, ...],
    layers: list[str],
    decompose: bool,
) -> None:
    model = make().eval()
    oracle = export(model, torch.randn(3, *sample), tmp_path / "m.pt2", decompose=decompose)

    network = network_of(tmp_path / "m.pt2")
    traced = trace(network, (torch.randn(1, *sample),))

    assert list(traced.shape.names) == layers
    assert not traced.floats
    for batch in (1, 2, 5):
        x = torch.randn(batch, *sample)
        torch.testing.assert_close(network(x), oracle(x), rtol=1e-5, atol=1e-6)
        raw = ExportedNetwork(program_of(tmp_path / "m.pt2"))
        assert torch.equal(raw(x), oracle(x))


def test_layers_of_a_file_are_those_of_its_module(tmp_path: Path) -> None:
    model = Residual().eval()
    export(model, torch.randn(3, *IMAGE), tmp_path / "m.pt2")

    from_file = trace(network_of(tmp_path / "m.pt2"), (torch.randn(1, *IMAGE),))

    assert from_file.shape.layers == trace(model, (torch.randn(1, *IMAGE),)).shape.layers


def test_attention_becomes_two_products(tmp_path: Path) -> None:
    oracle = export(Vit().eval(), torch.randn(3, *IMAGE), tmp_path / "m.pt2")

    network = network_of(tmp_path / "m.pt2")
    x = torch.randn(4, *IMAGE)
    traced = trace(network, (x[:1],))

    torch.testing.assert_close(network(x), oracle(x), rtol=1e-5, atol=1e-6)
    assert not traced.floats
    assert traced.shape.names == (
        "patches",
        *("blocks.0.qkv", "blocks.0.sdpa.qk", "blocks.0.sdpa.av", "blocks.0.out"),
        *("blocks.1.qkv", "blocks.1.sdpa.qk", "blocks.1.sdpa.av", "blocks.1.out"),
        *("last.in_proj", "last.sdpa.qk", "last.sdpa.av", "last.out_proj"),
        "head",
    )
    assert traced.shape.dynamic == {n for n in traced.shape.names if ".sdpa." in n}


class Odd(nn.Module):
    """Shared, functional and transposed weights, and products of activations."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(12, 8)
        self.twice = nn.Linear(8, 8)
        self.square = nn.Parameter(torch.randn(8, 8))
        self.tall = nn.Parameter(torch.randn(5, 8))
        self.own = nn.ParameterDict({"weight": nn.Parameter(torch.randn(8, 8))})

    def forward(self, x: Tensor) -> Tensor:
        y = self.embed(x)
        y = self.twice(functional.gelu(self.twice(y))) @ self.square
        y = torch.softmax(y @ y.transpose(1, 2), -1) @ y
        y = torch.bmm(y, y.transpose(1, 2)) @ functional.linear(y, self.own["weight"])
        return (functional.linear(y.mean(1), self.embed.weight) @ self.embed.weight) @ self.tall.T


def test_shared_and_functional_weights_become_layers(tmp_path: Path) -> None:
    oracle = export(Odd().eval(), torch.randint(0, 12, (3, 7)), tmp_path / "m.pt2")

    network = network_of(tmp_path / "m.pt2")
    x = torch.randint(0, 12, (4, 7))
    traced = trace(network, (x[:1],))

    torch.testing.assert_close(network(x), oracle(x), rtol=1e-5, atol=1e-5)
    assert set(traced.shape.names) == {
        *("twice", "square_product", "matmul", "matmul_1", "matmul_2", "matmul_3"),
        *("own", "embed.weight_product", "embed.weight_product_1", "tall_product"),
    }
    twice = next(layer for layer in traced.shape.layers if layer.name == "twice")
    assert twice.m == 14  # 7 tokens, used twice
    assert not traced.floats


class Floating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.up = nn.ConvTranspose1d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.first(x).unsqueeze(1))
        return torch.einsum("bci,bdi->bcd", y, y).mean(2)


def test_other_products_stay_in_float_and_are_named(tmp_path: Path) -> None:
    oracle = export(Floating().eval(), torch.randn(3, 6), tmp_path / "m.pt2")

    network = network_of(tmp_path / "m.pt2")
    traced = trace(network, (torch.randn(1, 6),))
    x = torch.randn(2, 6)

    assert torch.equal(network(x), oracle(x))
    assert traced.shape.names == ("first",)
    assert len(traced.floats) == 2
    assert "conv_transpose1d" in traced.floats[0]


def test_copies_do_not_share_weights(tmp_path: Path) -> None:
    export(Mlp().eval(), torch.randn(3, 6), tmp_path / "m.pt2")
    network = network_of(tmp_path / "m.pt2")
    x = torch.randn(2, 6)
    before = network(x)

    other = deepcopy(network)
    with torch.no_grad():
        other.get_parameter("layers.0.weight").zero_()

    assert torch.equal(network(x), before)
    assert not torch.equal(other(x), before)


def test_state_has_the_names_of_the_model(tmp_path: Path) -> None:
    model = Residual().eval()
    export(model, torch.randn(3, *IMAGE), tmp_path / "m.pt2")

    state = network_of(tmp_path / "m.pt2").state_dict()

    wanted = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    assert state.keys() == wanted.keys()
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)


def test_inputs_are_not_written_to(tmp_path: Path) -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(x.clone().relu_())
            return found

    export(InPlace().eval(), torch.randn(3, 6), tmp_path / "m.pt2")
    x = torch.randn(4, 6)
    before = x.clone()

    network_of(tmp_path / "m.pt2")(x)

    assert torch.equal(x, before)


def test_gradients_reach_every_parameter(tmp_path: Path) -> None:
    export(Vit().eval(), torch.randn(3, *IMAGE), tmp_path / "m.pt2")
    network = network_of(tmp_path / "m.pt2")

    network(torch.randn(2, *IMAGE)).square().sum().backward()

    assert all(p.grad is not None for p in network.parameters())


def test_a_static_batch_is_refused_with_the_way_out(tmp_path: Path) -> None:
    export(Mlp().eval(), torch.randn(3, 6), tmp_path / "m.pt2", static=True)

    with pytest.raises(SpecError, match=r"static, \(3,\).*dynamic_shapes=\{\"x\": \{0: torch"):
        program_of(tmp_path / "m.pt2")


def test_training_mode_is_refused(tmp_path: Path) -> None:
    export(Mlp().train(), torch.randn(3, 6), tmp_path / "m.pt2")

    with pytest.raises(SpecError, match=r"training mode.*model.eval\(\)"):
        program_of(tmp_path / "m.pt2")


def test_randomness_is_refused_by_name(tmp_path: Path) -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.layer(x)
            return found + torch.randn(2)

    export(Noisy().eval(), torch.randn(3, 6), tmp_path / "m.pt2")

    with pytest.raises(SpecError, match=r"unsupported operators: 'torch.ops.aten.randn.default'"):
        program_of(tmp_path / "m.pt2")


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Two(), (torch.randn(3, 2), torch.randn(3, 2)), dynamic_shapes=({0: batch}, {0: batch})
    )
    torch.export.save(program, tmp_path / "m.pt2")

    with pytest.raises(SpecError, match="takes 2 inputs"):
        program_of(tmp_path / "m.pt2")
