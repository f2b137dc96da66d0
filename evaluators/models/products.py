"""A program's products as modules: `nn.Linear`, `nn.Conv1d`, `nn.Conv2d` and `MatMul`."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import Final, final

from torch import nn

from evaluators.arithmetic.matmul import MatMul
from evaluators.models.attention import ScaledDotProduct
from evaluators.models.program import Node, Program, Ref
from evaluators.models.weighted import Product, find_weighted

_DYNAMIC: Final = {"aten::matmul", "aten::mm", "aten::bmm"}
_PRODUCTS: Final = frozenset(
    f"aten::{name}"
    for name in (
        *("linear", "matmul", "mm", "bmm", "mv", "dot", "vdot", "einsum", "outer"),
        *("addmm", "addbmm", "baddbmm", "convolution", "conv1d", "conv2d", "conv3d"),
        *("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
    )
)
_ATTENTION: Final = "aten::scaled_dot_product_attention"


@dataclass(frozen=True, slots=True)
class Products:
    """A program with modules in it.

    Attributes:
        nodes: the program's, with calls of modules in place of products.
        modules: path -> module. Products on the same weights, called alike, are one module.
        operators: products that stay operators, as "module path: operator".
    """

    nodes: tuple[Node, ...]
    modules: Mapping[str, nn.Module]
    operators: tuple[str, ...]


def find_products(program: Program) -> Products:
    """Put modules in place of a program's products.

    Those are linear, conv1d, conv2d and matrix products whose weights are parameters, matrix
    products of two activations, and scaled_dot_product_attention, which holds two of these. What
    is none of them stays an operator.
    """
    weighted = find_weighted(program)
    names = _Names(program, weighted.others)
    nodes: list[Node] = []
    modules: dict[str, nn.Module] = {}
    for number, node in enumerate(program.nodes):
        if number in weighted.spent:
            continue
        product = weighted.products.get(number)
        if product is not None:
            path = names.of_weights(product, node)
            if path not in modules:
                modules[path] = product.make(program.tensors)
            nodes.append(replace(node, call=path, arguments=(product.x,), keywords={}))
        elif (dynamic := _dynamic(node, program)) is not None:
            path = names.of_activations(node, dynamic.kind)
            modules.setdefault(path, dynamic.module)
            nodes.append(replace(node, call=path, arguments=dynamic.arguments, keywords={}))
        else:
            nodes.append(node)
    operators = (
        f"{node.path or 'model'}: {node.operator.removeprefix('aten::')}"
        for node in nodes
        if not isinstance(node.call, str) and node.operator in _PRODUCTS
    )
    return Products(tuple(nodes), modules, tuple(dict.fromkeys(operators)))


@dataclass(frozen=True, slots=True)
class _Dynamic:
    kind: str
    module: nn.Module
    arguments: tuple[object, ...]


def _dynamic(node: Node, program: Program) -> _Dynamic | None:
    if node.operator == _ATTENTION:
        return _Dynamic("sdpa", ScaledDotProduct(), tuple(node.bound().values()))
    if node.operator not in _DYNAMIC:
        return None
    operands = tuple(value for value in node.arguments if isinstance(value, Ref))
    matrices = all(program.ranks.get(value.name, 0) >= 2 for value in operands)
    held = any(value.name in program.held for value in operands)
    if len(operands) != 2 or held or not matrices:
        return None
    return _Dynamic("matmul", MatMul(), operands)


@final
class _Names:
    """Gives products their paths: where they stood, if a module can stand there."""

    def __init__(self, program: Program, others: frozenset[str]) -> None:
        self._tensors = set(program.held.values())
        self._others = others
        self._given: dict[tuple[object, ...], str] = {}
        self._calls: Counter[tuple[str, str, str]] = Counter()

    def of_weights(self, product: Product, node: Node) -> str:
        if product.key not in self._given:
            self._given[product.key] = self._free(self._wanted(product, node))
        return self._given[product.key]

    def of_activations(self, node: Node, kind: str) -> str:
        """Return a path below the module that makes the call; the same one whenever that module
        is called again."""
        calling = (node.path, node.calling, kind)
        key = (node.path, kind, self._calls[calling])
        self._calls[calling] += 1
        if key not in self._given:
            self._given[key] = self._free(f"{node.path}.{kind}".lstrip("."))
        return self._given[key]

    def _wanted(self, product: Product, node: Node) -> str:
        path, _, last = product.weight.rpartition(".")
        own = {product.weight, product.bias}
        # the module that held the weights, unless others read them or stand there as well
        if last == "weight" and path and self._below(path) <= own and not own & self._others:
            return path
        if node.path and self._below(node.path) <= own - self._others:
            return node.path
        name = last.removesuffix("_weight") if last.endswith("_weight") else f"{last}_product"
        return f"{path}.{name}".lstrip(".")

    def _free(self, wanted: str) -> str:
        given = self._given.values()
        while any(wanted.startswith(f"{other}.") for other in given):
            # below a product nothing else may stand: it is going to be swapped
            wanted = "_".join(wanted.rsplit(".", 1))
        for number in count():
            path = wanted if number == 0 else f"{wanted}_{number}"
            below = any(other.startswith(f"{path}.") for other in given)
            if not below and path not in given and path not in self._tensors:
                return path
        raise AssertionError("count() does not end")

    def _below(self, path: str) -> set[str]:
        return {full for full in self._tensors if full == path or full.startswith(f"{path}.")}
