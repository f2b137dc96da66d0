"""The modules that are products, and what is particular to each kind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Protocol, cast, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dse.errors import EvaluationError
from evaluators.arithmetic.columns import input_rows, weight_rows
from evaluators.arithmetic.convolution import Window
from evaluators.arithmetic.convolvers import convolution_multiplier
from evaluators.arithmetic.encoding import Encoding
from evaluators.arithmetic.matmul import MatMul
from evaluators.arithmetic.multipliers import Multiplier, matrix_multiplier
from evaluators.arithmetic.probe import byte_path, int_mm
from evaluators.arithmetic.weights import Weights

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d
Product = Weighted | MatMul

_ALLOWED = "an nn.Linear, nn.Conv1d, nn.Conv2d or MatMul"
# Codes of inputs that are laid out as rows at once: 64 MiB.
_MOST_ELEMENTS = 2**26
_FORWARDS = tuple(kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, MatMul))


class Form(Protocol):
    """How inputs and weights are combined."""

    def multiplier(
        self,
        weights: Weights,
        encoding: Encoding,
        step: Tensor,
        *,
        dtype: torch.dtype,
    ) -> Multiplier:
        """Return the exact product with weight codes; arguments as of `matrix_multiplier`."""

    def real(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Combine real values."""

    def weight_rows(self, weights: Tensor, tile: int) -> Tensor:
        """Return weights as (groups, n / groups, k), k in the order in which tiles cut it."""

    def input_rows(self, codes: Tensor, weights: Tensor, tile: int, zero: int) -> Iterator[Tensor]:
        """Yield what outputs are made of: (…, groups, k), in parts along the first dimension.

        Args:
            zero: the code of the real 0.
        """

    def outputs(self, rows: Tensor, inputs: Tensor) -> Tensor:
        """Return (…, n), an output a row, in the shape that belongs to these inputs."""


def find_product(model: nn.Module, layer: str) -> Product:
    """Return the module at a path.

    Raises:
        EvaluationError: there is none, or it is no product that can be quantized.
    """
    try:
        found = model.get_submodule(layer)
    except AttributeError as error:
        raise EvaluationError(f"the model has no layer {layer!r}") from error
    if not isinstance(found, Product):
        kind = type(found).__name__
        raise EvaluationError(f"layer {layer!r} must be {_ALLOWED}, got {kind}")
    if not _computes_as_its_kind(found):
        kind = type(found).__name__
        raise EvaluationError(
            f"layer {layer!r} must be {_ALLOWED} with its own forward, "
            f"got {kind}, which has another"
        )
    if isinstance(found, nn.Conv1d | nn.Conv2d) and found.padding_mode != "zeros":
        raise EvaluationError(
            f"layer {layer!r} must have padding mode 'zeros', got {found.padding_mode!r}"
        )
    return found


def _computes_as_its_kind(module: Product) -> bool:
    if isinstance(module, nn.Conv1d | nn.Conv2d) and (
        type(module)._conv_forward not in (nn.Conv1d._conv_forward, nn.Conv2d._conv_forward)
    ):
        return False
    return type(module).forward in _FORWARDS


def second(layer: str) -> str:
    """Return what the second operand of a dynamic product is called; the first is called as
    the layer is."""
    return f"{layer} (second operand)"


def arguments(module: Product, layer: str) -> tuple[tuple[str, str], ...]:
    """Return what each operand that is an activation is called, and the module's argument."""
    if isinstance(module, MatMul):
        return (layer, "a"), (second(layer), "b")
    return ((layer, "input"),)


def form_of(module: Weighted) -> Form:
    """Return how a product with weights computes."""
    if isinstance(module, nn.Linear):
        return _LinearForm()
    window = Window(
        stride=module.stride,
        dilation=module.dilation,
        padding=module.padding,
        groups=module.groups,
    )
    return _ConvolutionForm(window)


def interpose(module: nn.Module, forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Have a module compute otherwise, and return what it computed so far.

    The module itself stays: whoever else holds it (a second path, a hook, the user's code) gets
    the same results, and its parameters keep their names.
    """
    before = cast(Callable[..., Tensor], module.forward)
    module.__dict__["forward"] = forward
    return before


@final
@dataclass(frozen=True, slots=True)
class _LinearForm:
    def multiplier(
        self,
        weights: Weights,
        encoding: Encoding,
        step: Tensor,
        *,
        dtype: torch.dtype,
    ) -> Multiplier:
        return matrix_multiplier(weights, encoding, step, dtype=dtype, path=byte_path())

    def real(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(values, weight, bias)

    def weight_rows(self, weights: Tensor, tile: int) -> Tensor:
        return weights[None]

    def input_rows(self, codes: Tensor, weights: Tensor, tile: int, zero: int) -> Iterator[Tensor]:
        yield codes.unsqueeze(-2)

    def outputs(self, rows: Tensor, inputs: Tensor) -> Tensor:
        return rows.reshape(*inputs.shape[:-1], rows.shape[-1])


@final
@dataclass(frozen=True, slots=True)
class _ConvolutionForm:
    window: Window

    def multiplier(
        self,
        weights: Weights,
        encoding: Encoding,
        step: Tensor,
        *,
        dtype: torch.dtype,
    ) -> Multiplier:
        return convolution_multiplier(
            weights,
            encoding,
            step,
            dtype=dtype,
            window=self.window,
            bytes_pay=int_mm() is not None,
        )

    def real(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.window.convolve(values, weight, bias)

    def weight_rows(self, weights: Tensor, tile: int) -> Tensor:
        return weight_rows(weights, self.window, tile)

    def input_rows(self, codes: Tensor, weights: Tensor, tile: int, zero: int) -> Iterator[Tensor]:
        batch = codes if codes.dim() == weights.dim() else codes[None]
        size = max(1, _MOST_ELEMENTS // max(1, batch[0].numel() * prod(weights.shape[2:])))
        for part in torch.split(batch, size):
            yield input_rows(part, weights.shape[2:], self.window, tile, zero=zero)

    def outputs(self, rows: Tensor, inputs: Tensor) -> Tensor:
        found = rows.movedim(-1, 1)
        return found if inputs.dim() == found.dim() else found[0]
