"""Matrix products with quantized partial sums, in exactly an accelerator's integers.

Three implementations give the same bits: `psum_reference` in 64-bit integers, `psum_torch` by
float products, and a native kernel. A product whose sums could leave what an implementation holds
without loss is computed by the next wider one, and the log says so.
"""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Final, final

import torch
from torch import Tensor

from dse.errors import SpecError
from evaluators.arithmetic.native.library import Kernel
from evaluators.arithmetic.psum_native import (
    AVX2,
    INT32_LIMIT,
    VNNI,
    PackedWeights,
    native_product,
    pack_weights,
    proven_kernel,
)
from evaluators.arithmetic.psum_plan import PsumPlan, make_plan
from evaluators.arithmetic.psum_reference import psum_reference
from evaluators.arithmetic.psum_torch import (
    FLOAT32_LIMIT,
    FLOAT64_LIMIT,
    FoldedWeights,
    fold_weights,
    folded_product,
)

_log = logging.getLogger(__name__)

REFERENCE, TORCH, NATIVE = "reference", "torch", "native"
NATIVE_AVX2, NATIVE_VNNI = f"{NATIVE}-{AVX2}", f"{NATIVE}-{VNNI}"
IMPLEMENTATIONS: Final = (REFERENCE, TORCH, NATIVE, NATIVE_AVX2, NATIVE_VNNI)
"""`native` is the faster of the last two that this processor has; where it has neither, or the
kernel cannot be built, `torch` takes its place."""

_OPERANDS: Final = (torch.int8, torch.uint8, torch.int16)
_WEIGHTS: Final = (torch.int8, torch.int16)


def grouped_psum_matmul(
    x: Tensor,
    w: Tensor,
    *,
    tile: int,
    group_size: int,
    exponents: Tensor | Sequence[int],
    psum_bits: int,
    zero_point: int = 0,
    implementation: str = NATIVE,
) -> Tensor:
    """Return (x - zero_point) times w transposed, accumulated as codes of `psum_bits`.

    Args:
        x: codes (m, k): int8; uint8 if unsigned or with a zero point; int16 if they are wider.
        w: codes (n, k): int8, or int16 if they are wider. Both may have a first dimension more,
            of products side by side; then so has the result.
        tile: elements of the reduction to a partial sum.
        group_size: tiles from one fold of all stored codes to the next; 1 is plain APSQ.
        exponents: log2 of the unit of each tile's codes, 0..31, one per tile.
        psum_bits: 2..32.
        implementation: one of `IMPLEMENTATIONS`, which all give the same.

    Returns:
        int32 (m, n): the last code shifted back, in units of the product of the operands' scales.

    Raises:
        SpecError: an argument that cannot be used, or sums that leave int32.
    """
    prepared = prepare_psum(
        w,
        tile=tile,
        group_size=group_size,
        exponents=exponents,
        psum_bits=psum_bits,
        implementation=implementation,
    )
    return prepared(x, zero_point=zero_point)


def prepare_psum(
    w: Tensor,
    *,
    tile: int,
    group_size: int,
    exponents: Tensor | Sequence[int],
    psum_bits: int,
    implementation: str = NATIVE,
) -> "PreparedPsum":
    """Lay weights out for many products; arguments and errors as of `grouped_psum_matmul`."""
    _check_operand("w", w, _WEIGHTS)
    if implementation not in IMPLEMENTATIONS:
        allowed = ", ".join(IMPLEMENTATIONS)
        raise SpecError(f"implementation must be one of {allowed}, got {implementation!r}")
    k = w.shape[-1]
    plan = make_plan(k, tile=tile, group_size=group_size, psum_bits=psum_bits, exponents=exponents)
    return PreparedPsum(_Weights(w, implementation), plan)


@final
class PreparedPsum:
    """Weights laid out for one plan.

    Attributes:
        plan: how products are accumulated.
    """

    def __init__(self, weights: "_Weights", plan: PsumPlan) -> None:
        self.plan = plan
        self._weights = weights
        self._computed = plan.shortest
        self._heaviest = weights.heaviest(self._computed)
        self._folded: dict[tuple[int, torch.dtype], FoldedWeights] = {}

    def at(
        self, *, group_size: int, exponents: Tensor | Sequence[int], psum_bits: int
    ) -> "PreparedPsum":
        """Return the same weights at another plan of the same tiles; what is laid out is
        shared."""
        plan = make_plan(
            self.plan.k,
            tile=self.plan.tile,
            group_size=group_size,
            psum_bits=psum_bits,
            exponents=exponents,
        )
        return PreparedPsum(self._weights, plan)

    def implementation(self, x: Tensor, *, zero_point: int = 0) -> str:
        """Return by which implementation a product is computed: "reference", "native-vnni",
        "native-avx2", "torch", or "torch in float64" where float32 could round."""
        level = self._weights.level(x.dtype)
        largest = self._largest(x, zero_point)
        if self._weights.implementation == REFERENCE or largest >= FLOAT64_LIMIT:
            return REFERENCE
        if level is not None and largest < INT32_LIMIT:
            return f"{NATIVE}-{level}"
        if largest < FLOAT32_LIMIT:
            return TORCH
        return f"{TORCH} in float64"

    def __call__(self, x: Tensor, *, zero_point: int = 0) -> Tensor:
        """Return (x - zero_point) times the weights transposed, int32 (m, n).

        Args:
            x: codes (m, k), int8, uint8 or int16; (batch, m, k) if the weights have a batch.

        Raises:
            SpecError: x is none of these, or sums leave int32.
        """
        _check_operand("x", x, _OPERANDS, like=self._weights.codes)
        chosen = self.implementation(x, zero_point=zero_point)
        batch = x if x.dim() == 3 else x[None]
        if chosen in (NATIVE_AVX2, NATIVE_VNNI):
            found = self._native(batch, chosen.removeprefix(f"{NATIVE}-"), zero_point)
        else:
            found = torch.empty(*batch.shape[:2], self._weights.batch.shape[1], dtype=torch.int32)
            for i, one in enumerate(batch):
                found[i] = self._item(i, one, chosen, zero_point)
        return found if x.dim() == 3 else found[0]

    def _largest(self, x: Tensor, zero_point: int) -> int:
        reach = _reach(x, zero_point)
        return self._computed.largest_sum([heaviest * reach for heaviest in self._heaviest])

    def _item(self, i: int, x: Tensor, chosen: str, zero_point: int) -> Tensor:
        if chosen == REFERENCE:
            weights = self._weights.batch[i]
            exact = psum_reference(x, weights, self._computed, zero_point=zero_point)
            return _as_int32(torch.from_numpy(exact))
        dtype = torch.float32 if chosen == TORCH else torch.float64
        if dtype == torch.float64:
            _say_wider()
        return _as_int32(folded_product(x, self._fold(i, dtype), zero_point=zero_point))

    def _native(self, x: Tensor, level: str, zero_point: int) -> Tensor:
        kernel = proven_kernel()
        assert kernel is not None
        packed = self._weights.packed(self._computed.tile, level)
        return native_product(kernel, x, packed, self._computed, zero_point=zero_point)

    def _fold(self, i: int, dtype: torch.dtype) -> FoldedWeights:
        if (i, dtype) not in self._folded:
            weights = self._weights.batch[i]
            self._folded[i, dtype] = fold_weights(weights, self._computed, dtype)
        return self._folded[i, dtype]


@final
class _Weights:
    """Weights (n, k) or (batch, n, k), and what has been laid out of them."""

    def __init__(self, codes: Tensor, implementation: str) -> None:
        self.codes = codes
        self.batch = codes if codes.dim() == 3 else codes[None]
        self.implementation = implementation
        self._levels = _levels(implementation)
        self._packed: dict[tuple[int, str], PackedWeights] = {}

    def level(self, inputs: torch.dtype) -> str | None:
        """Return the instructions for inputs of a dtype; None: there are none."""
        if VNNI in self._levels and torch.int16 not in (inputs, self.codes.dtype):
            return VNNI
        # codes of more than 8 bits are for AVX2 alone, which every processor with VNNI has
        return AVX2 if self._levels else None

    def packed(self, tile: int, level: str) -> PackedWeights:
        key = (tile, level)
        if key not in self._packed:
            self._packed[key] = pack_weights(self.batch, tile, level)
        return self._packed[key]

    def heaviest(self, plan: PsumPlan) -> list[int]:
        """Return the largest sum of magnitudes of a channel in each tile."""
        magnitudes = self.codes.to(torch.int32).abs_()
        tiles = [magnitudes[..., begin:end].sum(dim=-1) for begin, end in plan.ends]
        return [int(tile.max()) if tile.numel() else 0 for tile in tiles]


def _levels(implementation: str) -> tuple[str, ...]:
    if implementation in (REFERENCE, TORCH):
        return ()
    kernel: Kernel | None = proven_kernel()
    found = () if kernel is None else kernel.levels
    if implementation == NATIVE:
        return found
    level = implementation.removeprefix(f"{NATIVE}-")
    if kernel is not None and level not in found:
        allowed = ", ".join(found)
        raise SpecError(f"this processor has {allowed}, got implementation {implementation!r}")
    return (level,) if level in found else ()


def _check_operand(
    name: str, operand: Tensor, allowed: Sequence[torch.dtype], like: Tensor | None = None
) -> None:
    """Check the type and shape of an operand, of x beside that of w."""
    if operand.dtype not in allowed:
        words = ", ".join(str(dtype) for dtype in allowed)
        raise SpecError(f"{name} must be one of {words}, got {operand.dtype}")
    shape = tuple(operand.shape)
    if like is None:
        if operand.dim() not in (2, 3):
            raise SpecError(f"{name} must have shape (…, k), with a batch or not, got {shape}")
    elif operand.dim() != like.dim() or (*shape[:-2], shape[-1]) != (
        *like.shape[:-2],
        like.shape[-1],
    ):
        wanted = ", ".join(map(str, (*like.shape[:-2], "…", like.shape[-1])))
        raise SpecError(f"{name} must have shape ({wanted}), got {shape}")


def _reach(x: Tensor, zero_point: int) -> int:
    """Return a bound on |x - zero_point|."""
    info = torch.iinfo(x.dtype)
    low, high = info.min, info.max
    if x.dtype == torch.int16 and x.numel():
        low, high = (int(end) for end in x.aminmax())
    return max(abs(low - zero_point), abs(high - zero_point))


def _as_int32(sums: Tensor) -> Tensor:
    if sums.numel():
        low, high = (int(end) for end in sums.aminmax())
        if low < -INT32_LIMIT or high >= INT32_LIMIT:
            raise SpecError(f"results must fit 32 bits, got {low} .. {high}")
    return sums.to(torch.int32)


@cache
def _say_wider() -> None:
    """Tell, once a process."""
    _log.warning(
        "partial sums of a product may leave what int32 or float32 hold without loss: "
        "such products are computed in float64"
    )
