import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from evaluators.models.tracing import trace
from tests.evaluators.models.layers import linear
from tests.evaluators.models.networks import (
    noise,
)


class Floats(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Linear(4, 4)
        self.lstm = nn.LSTM(4, 4, batch_first=True)
        self.up = nn.ConvTranspose1d(4, 4, 2)
        self.odd = nn.Conv1d(4, 4, 3, padding=1, padding_mode="circular")
        self.spare = nn.Linear(4, 4)
        self.normed = parametrizations.weight_norm(nn.Linear(4, 4))
        self.leave = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.lstm(self.enter(x))
        y = functional.linear(y @ y.mT @ y, self.spare.weight)
        y = self.odd(self.up(y.mT))
        y = torch.einsum("bij,bkj->bki", y, y)
        out: Tensor = self.leave(self.normed(y))
        return out


def test_products_that_stay_in_float_are_named_and_pass_data_on() -> None:
    traced = trace(Floats(), (noise(1, 6, 4),))

    assert [(one.name, one.consumers) for one in traced.shape.layers] == [
        ("enter", ("leave",)),
        ("leave", ()),
    ]
    assert traced.floats == (
        "lstm: lstm",
        "model: matmul",
        "model: linear",
        "up: conv_transpose1d",
        "odd: conv1d",
        "model: einsum",
        "normed: linear",
    )


def test_forward_passes_in_inference_mode_are_told_the_same() -> None:
    class Inferring(Floats):
        @torch.inference_mode()
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)

    expected = trace(Floats(), (noise(1, 6, 4),))
    traced = trace(Inferring(), (noise(1, 6, 4),))

    assert (traced.shape, traced.floats) == (expected.shape, expected.floats)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_products_of_scripted_modules_stay_in_float() -> None:
    scripted = torch.jit.script(nn.Sequential(nn.Linear(4, 4)))

    traced = trace(nn.Sequential(scripted, nn.Linear(4, 2)), (noise(1, 4),))

    assert traced.shape.layers == (linear("1", 4, 2),)
    assert traced.floats == ("model: aten.addmm",)


class TiedAutoencoder(nn.Module):
    """Reads a layer's weight outside of it, and attends."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(8, 4)
        self.out = nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.tanh(self.encode(inputs)) @ self.encode.weight
        mixed = functional.scaled_dot_product_attention(hidden, hidden, hidden)
        outputs: Tensor = self.out(mixed)
        return outputs


def test_a_layer_whose_weight_is_read_elsewhere_too_stays_in_float() -> None:
    model = TiedAutoencoder().eval()
    sample = noise(1, 5, 8)
    with torch.no_grad():
        before = model(sample)

    traced = trace(model, (sample,))

    assert traced.shape.names == ("sdpa.qk", "sdpa.av", "out")
    assert traced.floats == ("encode: linear", "model: matmul")
    with torch.no_grad():
        torch.testing.assert_close(traced.model(sample), before)


def test_a_layer_that_shares_its_weight_with_a_module_is_a_layer() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(7, 8)
            self.head = nn.Linear(8, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            outputs: Tensor = self.head(self.embed(tokens))
            return outputs

    traced = trace(Tied(), (torch.tensor([[1, 2, 3]]),))

    assert traced.shape.names == ("head",)


def test_attention_in_a_list_of_modules_stays_in_float() -> None:
    class Block(nn.Sequential):
        def forward(self, inputs: Tensor) -> Tensor:
            for layer in self:
                inputs = layer(inputs)
            return functional.scaled_dot_product_attention(inputs, inputs, inputs)

    model = Block(nn.Linear(8, 8), nn.Linear(8, 8)).eval()
    sample = noise(1, 5, 8)
    with torch.no_grad():
        before = model(sample)

    traced = trace(model, (sample,))

    assert traced.shape.names == ("0", "1")
    assert traced.floats == ("model: scaled_dot_product_attention",)
    with torch.no_grad():
        assert torch.equal(traced.model(sample), before)
