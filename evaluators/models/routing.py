"""Calls of `functional.scaled_dot_product_attention` led through modules, at every later call."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dse.errors import EvaluationError
from evaluators.models.attention import ScaledDotProduct

Function = Callable[..., Any]
"""Any torch function: what it takes and gives back is its own."""


def is_attention(function: Function) -> bool:
    return function is functional.scaled_dot_product_attention


def add_child(module: nn.Module) -> str:
    """Give a module a `ScaledDotProduct` under a name that is free; return the name."""
    taken = set(dir(module))
    names = ("sdpa" if i == 0 else f"sdpa_{i}" for i in range(len(taken) + 1))
    name = next(name for name in names if name not in taken)
    module.add_module(name, ScaledDotProduct())
    return name


def route(module: nn.Module, *, path: str, children: Sequence[str]) -> None:
    """Lead the attention calls of a module through its children, at every later forward call.

    Args:
        path: the module's, for errors.
        children: the `ScaledDotProduct` for the first call of a pass, the second, ….

    Later forward calls raise EvaluationError if they make more calls than there are children.
    """
    taking = _Route(module, path, tuple(children))
    module.register_forward_pre_hook(taking.enter)
    # Always called: a forward call that raises must not leave the mode in force.
    module.register_forward_hook(taking.leave, always_call=True)


@final
class _Route:
    # Bound methods as hooks: a deep copy of the module gets a route of its own.
    def __init__(self, module: nn.Module, path: str, children: tuple[str, ...]) -> None:
        self._module = module
        self._path = path
        self._children = children
        self._calls: list[_Calls] = []

    def enter(self, module: nn.Module, args: object) -> None:
        calls = _Calls(self._next)
        calls.__enter__()  # type: ignore[no-untyped-call]
        self._calls.append(calls)

    def leave(self, module: nn.Module, args: object, output: object) -> None:
        if self._calls:
            self._calls.pop().__exit__(None, None, None)  # type: ignore[no-untyped-call]

    def _next(self, index: int) -> nn.Module:
        if index >= len(self._children):
            raise EvaluationError(
                f"module {self._path!r} calls scaled_dot_product_attention more often than the "
                f"{len(self._children)} times of the pass in which its layers were found"
            )
        return self._module.get_submodule(self._children[index])


@final
class _Calls(TorchFunctionMode):
    def __init__(self, take: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self._take = take
        self._made = 0

    def __torch_function__(
        self,
        func: Function,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if is_attention(func):
            func = self._take(self._made)
            self._made += 1
        return func(*args, **(kwargs or {}))
