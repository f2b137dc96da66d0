from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from evaluators.arithmetic.byte_paths import Full, Packed
from evaluators.arithmetic.probe import byte_path, is_exact


@dataclass(frozen=True)
class _Altered:
    """A way that does a little less than it should."""

    fault: str
    name: str = "altered"
    limit: int = 2**24
    keeps: bool = False

    def pack(self, weights: Tensor) -> Packed:
        return Full().pack(weights)

    def integers(self, codes: Tensor, zero: int, packed: Packed) -> Tensor:
        if self.fault == "missing":
            raise RuntimeError("not in this build")
        if self.fault == "signs":
            codes = codes.clamp(min=-127)
        if self.fault == "zero":
            zero = 0
        product = Full().integers(codes, zero, packed)
        return product.to(torch.float16).float() if self.fault == "halves" else product

    def scaled(
        self, codes: Tensor, zero: int, packed: Packed, step: Tensor, bias: Tensor | None
    ) -> Tensor:
        product = self.integers(codes, zero, packed)
        if self.fault == "fused" and bias is not None:
            return (product.double() * step.double() + bias.double()).float()
        return product * step if bias is None else product * step + bias


@pytest.mark.parametrize("fault", ["missing", "signs", "zero", "halves", "fused"])
def test_a_way_that_is_not_exact_is_found_out(fault: str) -> None:
    assert not is_exact(_Altered(fault))


def test_an_exact_way_is_taken_for_one() -> None:
    assert is_exact(_Altered("none"))
    assert is_exact(Full())


def test_the_way_taken_is_exact_and_stays() -> None:
    assert is_exact(byte_path())
    assert byte_path() is byte_path()
