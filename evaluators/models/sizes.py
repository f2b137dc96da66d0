from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import final

from torch import Tensor, nn

from dse.design import Layer
from dse.errors import EvaluationError
from evaluators.arithmetic.matmul import MatMul

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d)


def is_product(module: nn.Module) -> bool:
    """Whether a module is a matrix product that can be quantized.

    It computes what its class does and nothing else: a subclass with a `forward` of its own, a
    module with hooks, with a weight computed from other parameters (parametrized, pruned) or with
    a padding that is not zeros is none.
    """
    if module._forward_pre_hooks or module._forward_hooks:
        return False
    if isinstance(module, MatMul):
        return True
    if not isinstance(module, _KINDS) or module._parameters.get("weight") is None:
        return False
    if not any(type(module).forward is kind.forward for kind in _KINDS):
        return False
    return isinstance(module, nn.Linear) or (
        module.padding_mode == "zeros"
        and type(module)._conv_forward in (nn.Conv1d._conv_forward, nn.Conv2d._conv_forward)
    )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Sizes of a product in GEMM form, as in `dse.design.Layer`."""

    m: int
    k: int
    n: int
    groups: int = 1
    kernel: int = 1
    stride: int = 1
    window: int | None = None
    input_elements: int
    dynamic: bool = False

    def plus(self, other: "Sizes", name: str) -> "Sizes":
        """Return the sizes of both uses of a layer together: rows add up.

        Raises:
            EvaluationError: the uses differ in more than rows (a `MatMul` alone can).
        """
        m, elements = self.m + other.m, self.input_elements + other.input_elements
        together = replace(self, m=m, input_elements=elements)
        if replace(other, m=m, input_elements=elements) != together:
            sizes = [f"(k {one.k}, n {one.n}, groups {one.groups})" for one in (self, other)]
            raise EvaluationError(
                f"layer {name!r} must multiply matrices of the same k, n and groups at each use, "
                f"got {sizes[0]} and {sizes[1]}: give each use a MatMul of its own"
            )
        return together

    def layer(self, name: str, consumers: tuple[str, ...]) -> Layer:
        return Layer(
            name=name,
            m=self.m,
            k=self.k,
            n=self.n,
            groups=self.groups,
            kernel=self.kernel,
            stride=self.stride,
            window=self.window,
            input_elements=self.input_elements,
            consumers=consumers,
            dynamic=self.dynamic,
        )


def sizes_of(module: nn.Module, inputs: Sequence[Tensor], output: Tensor) -> Sizes:
    """Return the sizes of one use of a product module on a batch of one.

    A convolution that is not square tells its longer side, its larger step and its window.
    `input_elements` of a `MatMul` are those of its first operand; each matrix of the second is a
    group, and where the second is broadcast over the first, the first's leading dimensions are
    rows.
    """
    if isinstance(module, nn.Linear):
        return Sizes(
            m=inputs[0].numel() // module.in_features,
            k=module.in_features,
            n=module.out_features,
            input_elements=inputs[0].numel(),
        )
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        side, window = max(module.kernel_size), prod(module.kernel_size)
        return Sizes(
            m=output.numel() // module.out_channels,
            k=module.in_channels // module.groups * window,
            n=module.out_channels // module.groups,
            groups=module.groups,
            kernel=side,
            stride=max(module.stride),
            window=None if window == side**2 else window,
            input_elements=inputs[0].numel(),
        )
    a, b = inputs
    n = b.size(-1) if b.dim() > 1 else 1
    groups = prod(b.shape[:-2])
    return Sizes(
        m=output.numel() // (n * groups),
        k=a.size(-1),
        n=n,
        groups=groups,
        input_elements=a.numel(),
        dynamic=True,
    )
