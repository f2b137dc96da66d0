from collections.abc import Callable
from dataclasses import dataclass

import pytest
from torch import Tensor, nn

from dse.errors import EvaluationError
from evaluators.arithmetic.matmul import MatMul
from evaluators.models.tracing import Traced, trace
from tests.evaluators.models.layers import linear, product
from tests.evaluators.models.networks import (
    noise,
)


@dataclass
class Answer:
    scores: Tensor


class Answering(nn.Module):
    def __init__(self, answer: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.answer = answer

    def forward(self, x: Tensor) -> object:
        return self.answer(self.layer(x))


@pytest.mark.parametrize(
    "answer", [Answer, lambda y: {"a": [y]}, lambda y: (1, (y,)), lambda y: [Answer(y)]]
)
def test_outputs_may_be_nested(answer: Callable[[Tensor], object]) -> None:
    traced: Traced = trace(Answering(answer), (noise(1, 4),))

    assert traced.shape.names == ("layer",)


@pytest.mark.parametrize("answer", [lambda y: None, lambda y: y.tolist(), lambda y: (1, "a")])
def test_outputs_without_a_tensor_are_refused(answer: Callable[[Tensor], object]) -> None:
    with pytest.raises(EvaluationError, match="the model must return a tensor, or a tuple"):
        trace(Answering(answer), (noise(1, 4),))


def test_a_network_that_raises_is_told_with_its_module() -> None:
    model = nn.Sequential(nn.Linear(4, 2), nn.Sequential(nn.ReLU(), nn.Linear(3, 2)))

    with pytest.raises(EvaluationError, match=r"raised in module '1\.1': RuntimeError: mat1"):
        trace(model, (noise(1, 4),))
    with pytest.raises(EvaluationError, match="raised in module 'model': TypeError"):
        trace(model, (noise(1, 4), noise(1, 4)))


def test_a_submodule_that_raised_where_its_caller_went_on_changes_nothing() -> None:
    class Trying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong = nn.Sequential(nn.Linear(9, 9))
            self.right = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            try:
                out: Tensor = self.wrong(x)
            except RuntimeError:
                out = self.right(x) @ x.mT
            return out

    traced = trace(Trying(), (noise(1, 4),))

    assert traced.shape.names == ("right",)
    assert traced.floats == ("model: matmul",)


def test_a_network_without_products_is_refused() -> None:
    class Plain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x @ x.mT

    with pytest.raises(EvaluationError, match=r"got none; products in float: model: matmul$"):
        trace(Plain(), (noise(1, 4),))


@pytest.mark.parametrize("model", [nn.Linear(4, 2), MatMul(), nn.MultiheadAttention(4, 2)])
def test_a_layer_alone_is_refused(model: nn.Module) -> None:
    with pytest.raises(EvaluationError, match=r"the model itself is a \w+: put it into"):
        trace(model, (noise(1, 4),))


def test_parameters_without_values_are_refused() -> None:
    meta = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2, device="meta"))
    lazy = nn.Sequential(nn.LazyLinear(4))

    with pytest.raises(EvaluationError, match="'weight' of module '1' is on device meta"):
        trace(meta, (noise(1, 4),))
    with pytest.raises(EvaluationError, match="'weight' of module '0' is lazy"):
        trace(lazy, (noise(1, 4),))


def test_uses_of_a_matmul_must_agree() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = MatMul()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.product(self.product(x, x.mT), x)
            return out

    with pytest.raises(EvaluationError, match=r"'product' must multiply .* got \(k 4, n 3, gr"):
        trace(Twice(), (noise(1, 3, 4),))


def test_inputs_may_be_given_by_name() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)
            self.product = MatMul()

        def forward(self, x: Tensor) -> object:
            y = self.layer(input=x)
            return self.product(b=x, a=y.mT)

    assert trace(Named(), (noise(1, 3, 4),)).shape.layers == (
        linear("layer", 4, 2, "product", m=3),
        product("product", 2, 3, 4, 1),
    )
