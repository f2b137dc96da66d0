import pytest
import torch
from torch import nn

from evaluators.arithmetic.matmul import MatMul


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((2, 3, 4), (2, 4, 5), (2, 3, 5)),
        ((2, 6, 3, 4), (4, 5), (2, 6, 3, 5)),
        ((6, 3, 4), (2, 1, 4, 5), (2, 6, 3, 5)),
        ((3, 4), (4,), (3,)),
    ],
)
def test_product_broadcasts_as_torch_does(
    a: tuple[int, ...], b: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    left, right = torch.randn(a), torch.randn(b)

    product = MatMul()(left, right)

    assert product.shape == expected
    assert torch.equal(product, left @ right)


def test_matmul_has_no_state() -> None:
    assert not MatMul().state_dict()
    assert isinstance(MatMul(), nn.Module)
