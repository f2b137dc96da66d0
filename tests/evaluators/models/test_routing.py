import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.errors import EvaluationError
from evaluators.models.routing import add_child, route
from tests.evaluators.models.networks import noise


class Times(nn.Module):
    """Calls attention so many times."""

    def __init__(self, inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.sdpa = "the user's own"

    def forward(self, x: Tensor, times: int = 2) -> Tensor:
        for _ in range(times):
            x = functional.scaled_dot_product_attention(x, x, x)
            if self.inner is not None:
                x = self.inner(x)
        return x


class Marked(nn.Module):
    def __init__(self, mark: float) -> None:
        super().__init__()
        self.mark = mark

    def forward(self, weights: Tensor, values: Tensor) -> Tensor:
        return values * self.mark


def routed(module: nn.Module, *marks: float) -> nn.Module:
    children = [add_child(module) for _ in marks]
    for child, mark in zip(children, marks, strict=True):
        module.get_submodule(child).register_module("av", Marked(mark))
    route(module, path="a.b", children=children)
    return module


def test_calls_go_through_children_in_their_order() -> None:
    x = noise(1, 3, 4)

    assert torch.equal(routed(Times(), 2.0, 4.0)(x), x * 8)
    assert torch.equal(routed(Times(), 2.0, 4.0)(x, times=1), x * 2)


def test_children_take_names_that_are_free() -> None:
    module = Times()

    assert [add_child(module), add_child(module)] == ["sdpa_1", "sdpa_2"]


def test_calls_are_counted_per_module_and_pass() -> None:
    model = routed(Times(routed(Times(), 2.0, 4.0)), 8.0, 16.0)
    x = noise(1, 3, 4)

    expected = x * (8 * 8 * 16 * 8)
    assert torch.equal(model(x), expected)
    assert torch.equal(model(x), expected)


def test_more_calls_than_were_traced_are_refused() -> None:
    model = routed(Times(), 2.0)

    with pytest.raises(EvaluationError, match=r"'a\.b' calls .* more often than the 1 times"):
        model(noise(1, 3, 4))


def test_a_pass_that_raises_leaves_no_route_behind() -> None:
    model = routed(Times(), 2.0, 4.0)
    x = noise(1, 3, 4)

    with pytest.raises(TypeError):
        model("no tensor")

    plain = functional.scaled_dot_product_attention(x, x, x)
    assert torch.equal(plain, Times()(x, times=1))
    assert torch.equal(model(x), x * 8)
