"""An exported program (.pt2) as a module, without running code from the file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from dse.errors import DseError, EvaluationError, SpecError
from evaluators.models.operators import writes
from evaluators.models.products import Products
from evaluators.models.program import Node, Program, Ref

# what operators raise that do not take what they are given
_REFUSALS: Final = (
    *(RuntimeError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError),
)


@final
class ExportedNetwork(nn.Module):
    """Runs a program's nodes one by one, in evaluation mode.

    Products are modules below it (`Products` says which), so that they can be hooked and
    swapped. Parameters and buffers have the names they had; they are the program's own.
    """

    def __init__(self, program: Program, products: Products | None = None) -> None:
        """Take a program.

        Args:
            products: found in the program; None runs every node as it was exported.
        """
        super().__init__()
        self._x = program.x
        self._outputs = program.outputs
        self._nodes = program.nodes if products is None else products.nodes
        self._last = _last_uses(self._nodes, program.outputs)
        self._copies = any(not isinstance(n.call, str) and writes(n.call) for n in self._nodes)
        used = {name for node in self._nodes for name in node.reads} | set(program.outputs)
        self._held = {name: full for name, full in program.held.items() if name in used}
        for full in dict.fromkeys(self._held.values()):
            _place(self, full, program.tensors[full])
        for path, module in {} if products is None else products.modules.items():
            _place(self, path, module)
        self.eval()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the program.

        Args:
            x: (batch, …), as it was exported.

        Returns:
            The program's result; a tuple where it has several.

        Raises:
            EvaluationError: an operator refuses its arguments.
        """
        values: dict[str, object] = {self._x: x.clone() if self._copies else x}
        for name, full in self._held.items():
            values[name] = _held(self, full)
        for number, node in enumerate(self._nodes):
            call = self.get_submodule(node.call) if isinstance(node.call, str) else node.call
            arguments = [_filled(value, values) for value in node.arguments]
            keywords = {name: _filled(value, values) for name, value in node.keywords.items()}
            try:
                found = call(*arguments, **keywords)
            except DseError:
                raise
            except _REFUSALS as error:
                told = f"{node.path or 'the network'}: {_name(node)}"
                raise EvaluationError(f"{told}: {str(error).splitlines()[0]}") from error
            _bind(node.outputs, found, values)
            for name in self._last[number]:
                values.pop(name, None)
        outputs = [values[name] for name in self._outputs]
        tensors = tuple(output for output in outputs if isinstance(output, Tensor))
        return tensors[0] if len(tensors) == 1 else tensors


def _place(root: nn.Module, full: str, item: Tensor | nn.Module) -> None:
    """Put a tensor or module under its full name."""
    *folders, name = full.split(".")
    try:
        module = root
        for folder in folders:
            if folder not in module._modules:
                module.add_module(folder, nn.Module())
            module = module.get_submodule(folder)
        if isinstance(item, nn.Module):
            module.add_module(name, item)
        elif isinstance(item, nn.Parameter):
            module.register_parameter(name, item)
        else:
            module.register_buffer(name, item)
    except (KeyError, AttributeError) as error:
        raise SpecError(f"tensor {full!r} has no name that a module can have") from error


def _held(root: nn.Module, full: str) -> Tensor:
    path, _, name = full.rpartition(".")
    found = getattr(root.get_submodule(path), name)
    assert isinstance(found, Tensor)
    return found


def _filled(value: object, values: Mapping[str, object]) -> object:
    if isinstance(value, Ref):
        return values[value.name]
    if isinstance(value, list):
        return [_filled(item, values) for item in value]
    return value


def _bind(outputs: Sequence[str | tuple[str, ...]], found: Any, values: dict[str, object]) -> None:
    if len(outputs) == 1:
        _bind_one(outputs[0], found, values)
        return
    for output, item in zip(outputs, found if outputs else (), strict=True):
        _bind_one(output, item, values)


def _bind_one(output: str | tuple[str, ...], found: Any, values: dict[str, object]) -> None:
    if isinstance(output, str):
        values[output] = found
    else:
        values.update(zip(output, found, strict=True))


def _last_uses(nodes: Sequence[Node], outputs: Sequence[str]) -> list[tuple[str, ...]]:
    """Return for each node the values that no later one reads."""
    seen = set(outputs)
    last: list[tuple[str, ...]] = []
    for node in reversed(nodes):
        made = [item for output in node.outputs for item in _items(output)]
        names = dict.fromkeys([*node.reads, *made])
        last.append(tuple(name for name in names if name not in seen))
        seen |= set(names)
    return last[::-1]


def _items(output: str | tuple[str, ...]) -> tuple[str, ...]:
    return (output,) if isinstance(output, str) else output


def _name(node: Node) -> str:
    call: Callable[..., Any] | str = node.call
    if isinstance(call, torch._ops.OpOverload):
        return str(call)
    return call if isinstance(call, str) else call.__name__
