"""Convolutions with fixed weights, from real inputs to real outputs, as
`evaluators.arithmetic.multipliers` has them for matrices."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from evaluators.arithmetic.convolution import Window, integer_convolution
from evaluators.arithmetic.encoding import Encoding, dense
from evaluators.arithmetic.multipliers import Multiplier, scaled
from evaluators.arithmetic.products import exact_dtype


@final
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatConvolver:
    """A convolution in a float dtype that holds all its sums.

    Attributes:
        weights: codes (n, c / groups, *kernel), of that dtype.
        step: float64, (n, 1, …) or ().
    """

    weights: Tensor
    window: Window
    encoding: Encoding
    step: Tensor

    def __call__(self, values: Tensor, bias: Tensor | None) -> tuple[Tensor, bool]:
        codes, finite = self.encoding.centred(dense(values))
        product = integer_convolution(codes.to(self.weights.dtype), self.weights, self.window)
        real = None if bias is None else _along(bias, self.weights)
        return scaled(product.to(values.dtype), self.step, real), finite


def convolution_multiplier(
    weights: Tensor, encoding: Encoding, step: Tensor, *, heaviest: int, window: Window
) -> Multiplier:
    """Return the fastest exact convolution for weights and inputs of these widths; arguments and
    errors as of `matrix_multiplier`."""
    return FloatConvolver(
        weights=weights.to(exact_dtype(heaviest * encoding.largest)),
        window=window,
        encoding=encoding,
        step=_along(step, weights) if step.dim() else step,
    )


def _along(figures: Tensor, weights: Tensor) -> Tensor:
    return figures.reshape(-1, *(1,) * (weights.dim() - 2))
