from collections.abc import Iterator

import pytest
import torch

from evaluators.arithmetic.convolution import Window, integer_convolution
from evaluators.arithmetic.products import integer_matmul, integer_product
from evaluators.arithmetic.settings import settle_torch


@pytest.fixture
def _fast() -> Iterator[None]:
    """Float products at the least precision that torch offers, where the processor has it."""
    torch.set_float32_matmul_precision("medium")
    torch.backends.mkldnn.conv.fp32_precision = "bf16"  # type: ignore[attr-defined]
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.mkldnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


@pytest.mark.usefixtures("_fast")
def test_products_are_exact_whatever_a_network_has_allowed() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-(2**15), 2**15, (256, 64), generator=generator).float()
    w = torch.randint(-2, 2, (64, 64), generator=generator).float()
    images, kernels = x.reshape(16, 16, 8, 8), w[:16, :].reshape(16, 16, 2, 2)
    window = Window(stride=(1, 1), dilation=(1, 1), padding="valid", groups=1)

    settle_torch()

    assert torch.equal(integer_product(x, w).double(), integer_product(x.double(), w.double()))
    assert torch.equal(integer_matmul(x, w).double(), integer_matmul(x.double(), w.double()))
    wide = integer_convolution(images.double(), kernels.double(), window)
    assert torch.equal(integer_convolution(images, kernels, window).double(), wide)


def test_products_are_exact_under_a_networks_autocast() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-128, 128, (256, 64), generator=generator).float()
    w = torch.randint(-128, 128, (64, 64), generator=generator).float()
    images, kernels = x.reshape(16, 16, 8, 8), w[:16, :].reshape(16, 16, 2, 2)
    window = Window(stride=(1, 1), dilation=(1, 1), padding="valid", groups=1)
    wide = integer_convolution(images.double(), kernels.double(), window)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = integer_product(x, w), integer_matmul(x, w)
        convolved = integer_convolution(images, kernels, window)

    assert torch.equal(found[0].double(), integer_product(x.double(), w.double()))
    assert torch.equal(found[1].double(), integer_matmul(x.double(), w.double()))
    assert torch.equal(convolved.double(), wide)
