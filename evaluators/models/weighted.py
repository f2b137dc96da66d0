"""The products with weights in an exported program."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, final

from torch import Tensor, nn

from evaluators.models.program import Node, Program, Ref

_CONVOLUTIONS: Final = {"aten::conv1d", "aten::conv2d", "aten::convolution"}
_MATRIX: Final = {"aten::linear", "aten::matmul", "aten::mm", "aten::addmm"}
_TRANSPOSES: Final = {"aten::t", "aten::numpy_T", "aten::transpose", "aten::permute"}
_Module = TypeVar("_Module", bound=nn.Linear | nn.Conv1d | nn.Conv2d)


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product with weights.

    Attributes:
        x: what it is applied to.
        weight: full name of the parameter; `bias` likewise.
        key: full names, and how it is called: equal ones are the same layer.
        make: given tensors by their full names, makes the module.
        uses: names of the values that the module takes over.
    """

    x: Ref
    weight: str
    bias: str | None
    key: tuple[object, ...]
    make: Callable[[Mapping[str, Tensor]], nn.Module]
    uses: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """What `find_weighted` has found.

    Attributes:
        products: by the number of their node.
        spent: nodes that only transposed a weight for a product.
        others: full names of tensors that something else reads as well.
    """

    products: Mapping[int, Product]
    spent: frozenset[int]
    others: frozenset[str]


def find_weighted(program: Program) -> Weighted:
    """Find linear layers, convolutions, and matrix products with a parameter on the right."""
    finder = _Finder(program)
    found = {number: finder.product(node) for number, node in enumerate(program.nodes)}
    products = {number: product for number, product in found.items() if product is not None}
    uses = Counter(name for node in program.nodes for name in node.reads)
    uses.update(program.outputs)
    for product in products.values():
        uses.subtract(product.uses)
    spent = {n for name, (n, _) in finder.transposed.items() if uses[name] == 0}
    for number in spent:
        uses.subtract(program.nodes[number].reads)
    return Weighted(
        products=products,
        spent=frozenset(spent),
        others=frozenset(full for name, full in program.held.items() if uses[name]),
    )


@final
class _Finder:
    """Reads single nodes.

    Attributes:
        transposed: values that are a parameter transposed: name -> (number of the node that
            makes it, full name).
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self.transposed: dict[str, tuple[int, str]] = {}
        for number, node in enumerate(program.nodes):
            if node.operator in _TRANSPOSES and isinstance(node.outputs[0], str):
                given = node.bound()
                full = self._parameter(given["self"], 2)
                if full is not None and _swaps_axes(given):
                    self.transposed[node.outputs[0]] = (number, full)

    def product(self, node: Node) -> Product | None:
        if node.operator in _CONVOLUTIONS:
            return self._convolution(node.bound())
        return self._matrix(node) if node.operator in _MATRIX else None

    def _matrix(self, node: Node) -> Product | None:
        given = node.bound()
        flipped, bias = True, None
        match node.operator:
            case "aten::linear":
                x, weight, bias, flipped = given["input"], given["weight"], given["bias"], False
            case "aten::addmm":
                x, weight, bias = given["mat1"], given["mat2"], given["self"]
                if given["beta"] != 1 or given["alpha"] != 1:
                    return None
            case "aten::mm":
                x, weight = given["self"], given["mat2"]
            case _:
                x, weight = given["self"], given["other"]
        full, turned = self._weight(weight)
        if full is None or not isinstance(x, Ref) or x.name in self._program.held:
            return None
        flipped ^= turned
        outputs = self._program.tensors[full].shape[1 if flipped else 0]
        full_bias = self._bias(bias, outputs)
        if bias is not None and full_bias is None:
            return None
        return Product(
            x=x,
            weight=full,
            bias=full_bias,
            key=(full, full_bias, flipped),
            make=lambda tensors: _linear(tensors, full, full_bias, flipped),
            uses=_used(weight, bias),
        )

    def _convolution(self, given: Mapping[str, object]) -> Product | None:
        x, weight, bias, groups = given["input"], given["weight"], given["bias"], given["groups"]
        full = self._parameter(weight)
        if full is None or not isinstance(x, Ref) or given.get("transposed"):
            return None
        shape = self._program.tensors[full].shape
        dimensions = len(shape) - 2
        batched = self._program.ranks.get(x.name) == len(shape)
        if dimensions not in (1, 2) or not batched or not isinstance(groups, int):
            return None
        steps = [_each(given[name], dimensions) for name in ("stride", "padding", "dilation")]
        full_bias = self._bias(bias, shape[0])
        if None in steps or (bias is not None and full_bias is None):
            return None
        return Product(
            x=x,
            weight=full,
            bias=full_bias,
            key=(full, full_bias, *steps, groups),
            make=lambda tensors: _conv(tensors, full, full_bias, steps, groups),
            uses=_used(weight, bias),
        )

    def _weight(self, value: object) -> tuple[str | None, bool]:
        """Return a matrix's full name, and whether it comes transposed."""
        if isinstance(value, Ref) and value.name in self.transposed:
            return self.transposed[value.name][1], True
        return self._parameter(value, 2), False

    def _bias(self, value: object, outputs: int) -> str | None:
        full = self._parameter(value, 1)
        fits = full is not None and self._program.tensors[full].shape[0] == outputs
        return full if fits else None

    def _parameter(self, value: object, dimensions: int | None = None) -> str | None:
        full = self._program.held.get(value.name) if isinstance(value, Ref) else None
        tensor = None if full is None else self._program.tensors[full]
        if not isinstance(tensor, nn.Parameter):
            return None
        return full if dimensions in (None, tensor.dim()) else None


def _swaps_axes(given: Mapping[str, object]) -> bool:
    """Tell whether a transpose or permutation of a matrix, so called, exchanges its axes."""
    axes = given.get("dims", [given.get("dim1", 1), given.get("dim0", 0)])
    assert isinstance(axes, list)
    places = [axis % 2 for axis in axes if isinstance(axis, int)]
    return places == [1, 0] or ("dims" not in given and places == [0, 1])


def _linear(
    tensors: Mapping[str, Tensor], weight: str, bias: str | None, flipped: bool
) -> nn.Linear:
    values = _parameter_of(tensors, weight)
    if flipped:
        turned = values.detach().t().contiguous()
        values = nn.Parameter(turned, requires_grad=values.requires_grad)
    n, k = values.shape
    # on meta no initial weights are drawn: the global generator stays as it is
    module = nn.Linear(k, n, bias=bias is not None, device="meta")
    return _filled(module, values, tensors, bias)


def _conv(
    tensors: Mapping[str, Tensor],
    weight: str,
    bias: str | None,
    steps: Sequence[Any],  # as nn.Conv1d and nn.Conv2d take them
    groups: int,
) -> nn.Conv1d | nn.Conv2d:
    values = _parameter_of(tensors, weight)
    stride, padding, dilation = steps
    kind: type[nn.Conv1d] | type[nn.Conv2d] = nn.Conv1d if values.dim() == 3 else nn.Conv2d
    module = kind(
        values.shape[1] * groups,
        values.shape[0],
        tuple(values.shape[2:]),  # type: ignore[arg-type]
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=bias is not None,
        device="meta",
    )
    return _filled(module, values, tensors, bias)


def _filled(
    module: _Module, weight: nn.Parameter, tensors: Mapping[str, Tensor], bias: str | None
) -> _Module:
    module.weight = weight
    if bias is not None:
        module.bias = _parameter_of(tensors, bias)
    return module


def _parameter_of(tensors: Mapping[str, Tensor], full: str) -> nn.Parameter:
    found = tensors[full]
    assert isinstance(found, nn.Parameter)
    return found


def _each(value: object, dimensions: int) -> str | tuple[int, ...] | None:
    """Return one number a dimension, or "same" or "valid"; None where sizes are not fixed."""
    if value in ("same", "valid"):
        return str(value)
    found = value if isinstance(value, list) else [value]
    numbers = tuple(item for item in found if isinstance(item, int))
    if len(numbers) != len(found) or len(numbers) not in (1, dimensions):
        return None
    return numbers if len(numbers) == dimensions else numbers * dimensions


def _used(*values: object) -> tuple[str, ...]:
    return tuple(value.name for value in values if isinstance(value, Ref))
