"""Ways to multiply codes of at most 8 bits, all exact: which one a processor takes is measured.

Every way takes codes as int8 with their zero point, and gives what float32 products of centred
codes give where those are exact.
"""

from dataclasses import dataclass
from typing import Final, Protocol, final

import torch
from torch import Tensor

from evaluators.arithmetic.products import integer_product

PART_LIMIT: Final = 2**24
"""Largest sum of which every way returns the integer itself."""

_FLIP: Final = -128
# Codes moved by 128 make sums of uint8 at most twice those of int8.
_INT32 = 2**29


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """Weights as a path wants them.

    Attributes:
        weights: of a layout of the path's own.
        channels: n.
        sums: of each output channel's codes, int32 (n,).
    """

    weights: Tensor
    channels: int
    sums: Tensor


class BytePath(Protocol):
    """A way to multiply.

    Attributes:
        name: as tables tell it.
        limit: largest sum that it keeps exact.
        keeps: whether packed weights are bytes, and take long enough to pack to be kept.
    """

    @property
    def name(self) -> str: ...

    @property
    def limit(self) -> int: ...

    @property
    def keeps(self) -> bool: ...

    def pack(self, weights: Tensor) -> Packed:
        """Prepare weights, int8 (n, k)."""

    def integers(self, codes: Tensor, zero: int, packed: Packed) -> Tensor:
        """Return (codes - zero) times the weights transposed: (m, n), int32 or float32.

        Args:
            codes: int8 (m, k); sums stay within `PART_LIMIT`, of stored codes too.
        """

    def scaled(
        self, codes: Tensor, zero: int, packed: Packed, step: Tensor, bias: Tensor | None
    ) -> Tensor:
        """Return the same rounded to float32, times `step`, rounded again, plus `bias`, rounded
        again: (m, n).

        Args:
            codes: int8 (m, k), not empty; sums stay within `limit`, of stored codes too.
            step, bias: float32 (n,).
        """


@final
class OneDnn:
    """oneDNN's product of bytes, through the operators that torch's own compiler emits for it:
    weights are packed once, steps and bias applied while sums are in registers."""

    name = "onednn"
    limit = _INT32
    keeps = True

    def pack(self, weights: Tensor) -> Packed:
        packed = torch.ops.onednn.qlinear_prepack(weights.contiguous(), None)
        return Packed(weights=packed, channels=len(weights), sums=_sums(weights))

    def integers(self, codes: Tensor, zero: int, packed: Packed) -> Tensor:
        return self.scaled(codes, zero, packed, torch.ones(packed.channels), None)

    def scaled(
        self, codes: Tensor, zero: int, packed: Packed, step: Tensor, bias: Tensor | None
    ) -> Tensor:
        product: Tensor = torch.ops.onednn.qlinear_pointwise(
            # some kernels for int8 are a thousand times slower than those for uint8
            codes.bitwise_xor(_FLIP).view(torch.uint8),
            1.0,
            zero - _FLIP,
            packed.weights,
            step,
            torch.zeros(packed.channels, dtype=torch.int64),
            bias,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return product


@final
class IntMm:
    """`torch._int_mm`."""

    name = "int_mm"
    limit = _INT32
    keeps = False

    def pack(self, weights: Tensor) -> Packed:
        return Packed(weights=weights.t(), channels=len(weights), sums=_sums(weights))

    def integers(self, codes: Tensor, zero: int, packed: Packed) -> Tensor:
        # torch 2.13 takes a single row of weights for a column, and is wrong
        outer = codes.shape[1] == 1
        product = codes.int() * packed.weights if outer else torch._int_mm(codes, packed.weights)
        return product.sub_(packed.sums * zero) if zero else product

    def scaled(
        self, codes: Tensor, zero: int, packed: Packed, step: Tensor, bias: Tensor | None
    ) -> Tensor:
        return _scaled(self.integers(codes, zero, packed).float(), step, bias)


@final
class Medium:
    """float32 products at "medium" precision: operands rounded to bfloat16, which holds integers
    up to 256, and summed in float32."""

    name = "medium"
    limit = PART_LIMIT
    keeps = False

    def pack(self, weights: Tensor) -> Packed:
        return Packed(weights=weights.float(), channels=len(weights), sums=_sums(weights))

    def integers(self, codes: Tensor, zero: int, packed: Packed) -> Tensor:
        precision = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        before = precision.fp32_precision
        precision.fp32_precision = "bf16"
        try:
            return integer_product(_centred(codes, zero), packed.weights)
        finally:
            precision.fp32_precision = before

    def scaled(
        self, codes: Tensor, zero: int, packed: Packed, step: Tensor, bias: Tensor | None
    ) -> Tensor:
        return _scaled(self.integers(codes, zero, packed), step, bias)


@final
class Full:
    """float32 products in full precision, for processors that have nothing better."""

    name = "float32"
    limit = PART_LIMIT
    keeps = False

    def pack(self, weights: Tensor) -> Packed:
        return Packed(weights=weights.float(), channels=len(weights), sums=_sums(weights))

    def integers(self, codes: Tensor, zero: int, packed: Packed) -> Tensor:
        return integer_product(_centred(codes, zero), packed.weights)

    def scaled(
        self, codes: Tensor, zero: int, packed: Packed, step: Tensor, bias: Tensor | None
    ) -> Tensor:
        return _scaled(self.integers(codes, zero, packed), step, bias)


PATHS: Final[tuple[BytePath, ...]] = (OneDnn(), IntMm(), Medium(), Full())


def _sums(weights: Tensor) -> Tensor:
    return weights.sum(1, dtype=torch.int32)


def _centred(codes: Tensor, zero: int) -> Tensor:
    return codes.float().sub_(zero) if zero else codes.float()


def _scaled(product: Tensor, step: Tensor, bias: Tensor | None) -> Tensor:
    scaled = product.mul_(step)
    return scaled if bias is None else scaled.add_(bias)
