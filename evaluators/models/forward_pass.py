"""One forward pass, watched.

Hooks on all modules say where the pass is, a dispatch mode below follows the data, and a function
mode above names what a user wrote as `torch.einsum` rather than as the `aten.bmm` that it became.
"""

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from dse.design import NetworkShape
from dse.errors import EvaluationError
from evaluators.arithmetic.matmul import MatMul
from evaluators.models.dataflow import DataFlow
from evaluators.models.routing import Function, add_child, is_attention, route
from evaluators.models.sizes import Sizes, is_product, sizes_of

_INPUTS = ("input", "a", "b")
# These may run over all their children: one more would be one more step.
_LISTS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


def spoken(path: str) -> str:
    """Return a module path as errors and lists tell it; the network's own is empty."""
    return path or "model"


@dataclass(slots=True, eq=False)
class _Frame:
    module: nn.Module
    attentions: list[str] = field(default_factory=list)


@final
class ForwardPass:
    """What one forward pass of a network does.

    Attributes:
        found: layer -> sizes, in order of execution.
        floats: products that stay in float; a dict for its order.
    """

    def __init__(self, model: nn.Module, *, leave: frozenset[str] = frozenset()) -> None:
        """Take a network.

        Args:
            leave: paths of products that are none.
        """
        self.found: dict[str, Sizes] = {}
        self.floats: dict[str, None] = {}
        self._model = model
        # A module registered twice goes by its first path; one that is in no registry by the
        # path of the module that calls it.
        self._paths = {module: path for path, module in model.named_modules()}
        self._products = {
            module
            for module, path in self._paths.items()
            if is_product(module) and path not in leave
        }
        self._frames: list[_Frame] = []
        self._error: BaseException | None = None
        self._where = model
        self._readers: dict[str, set[str]] = {}
        self._attentions: dict[nn.Module, list[str]] = {}
        self._handles: list[RemovableHandle] = []
        self._functions = _Functions(self)
        self._flow = DataFlow(within_product=self._within_product, on_product=self._in_float)
        self._adopted: list[tuple[nn.Module, str]] = []

    def run(self, sample: tuple[Tensor, ...]) -> object:
        """Run the network on a batch of one and return its output.

        Raises:
            EvaluationError: the network raises; the message names the innermost module.
        """
        for module in self._paths:
            # Scripted modules take no hooks: their operations count as their caller's.
            if not isinstance(module, torch.jit.ScriptModule):
                self._watch(module)
        try:
            with torch.no_grad(), self._functions, self._flow:
                # The network may write to its input.
                return self._model(*(tensor.clone() for tensor in sample))
        except EvaluationError:
            raise
        except Exception as error:
            raise EvaluationError(
                f"a forward pass raised in module {self._raised_in(error)!r}: "
                f"{type(error).__name__}: {error}"
            ) from error
        finally:
            for handle in self._handles:
                handle.remove()

    def read_elsewhere(self) -> frozenset[str]:
        """Return the layers whose weight something outside of all modules that hold it reads."""
        held = Counter(
            id(parameter)
            for module in self._paths
            for parameter in module._parameters.values()
            if parameter is not None
        )
        weights = {
            name: self._model.get_submodule(name)._parameters["weight"]
            for name in self.found
            if not isinstance(self._model.get_submodule(name), MatMul)
        }
        return frozenset(
            name
            for name, weight in weights.items()
            if weight is not None and held[id(weight)] == 1 and self._flow.was_read(weight)
        )

    def withdraw(self) -> None:
        """Take away what the pass has given modules for their attention."""
        for module, name in self._adopted:
            delattr(module, name)

    def route(self) -> None:
        """Make the way of the pass's attention calls the way of all later ones."""
        for module, children in self._attentions.items():
            route(module, path=spoken(self._paths[module]), children=children)

    def shape(self) -> NetworkShape:
        """Return what the pass told of the network."""
        products = [self._model.get_submodule(name) for name in self.found]
        weights = {id(product._parameters.get("weight")) for product in products}
        others = [one for one in self._model.parameters() if id(one) not in weights]
        return NetworkShape(
            layers=tuple(
                sizes.layer(
                    name, tuple(one for one in self.found if one in self._readers.get(name, ()))
                )
                for name, sizes in self.found.items()
            ),
            vector_parameters=sum(parameter.numel() for parameter in others),
            elementwise_operations=self._flow.operations,
        )

    def attend(self) -> nn.Module | None:
        """Return the module through which the innermost module's next attention call goes; None
        if that takes none."""
        if not self._frames or isinstance(self._frames[-1].module, _LISTS):
            return None
        frame = self._frames[-1]
        children = self._attentions.setdefault(frame.module, [])
        made = len(frame.attentions)
        if made == len(children):
            children.append(self._adopt(frame.module))
        frame.attentions.append(children[made])
        return frame.module.get_submodule(children[made])

    def _adopt(self, module: nn.Module) -> str:
        name = add_child(module)
        self._adopted.append((module, name))
        path = self._paths[module]
        for below, child in module.get_submodule(name).named_modules():
            steps = (path, name, below)
            self._paths[child] = ".".join(step for step in steps if step)
            if is_product(child):
                self._products.add(child)
            self._watch(child)
        return name

    def _watch(self, module: nn.Module) -> None:
        self._handles += [
            module.register_forward_pre_hook(self._enter),
            module.register_forward_hook(self._leave, with_kwargs=True, always_call=True),
        ]

    def _enter(self, module: nn.Module, args: object) -> None:
        self._frames.append(_Frame(module))

    # What modules take is their own: hence Any.
    def _leave(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], output: Any
    ) -> None:
        self._frames.pop()
        if output is None:
            # Of the modules that an error passes through, the first is the one that raised it.
            error = sys.exception()
            if error is not self._error:
                self._error, self._where = error, module
        elif module in self._products:
            self._multiplied(module, args, kwargs, output)

    def _raised_in(self, error: Exception) -> str:
        return spoken(self._paths[self._where] if error is self._error else "")

    def _multiplied(
        self, module: nn.Module, args: tuple[Tensor, ...], named: Mapping[str, Any], output: Tensor
    ) -> None:
        name = self._paths[module]
        inputs = (*args, *(named[one] for one in _INPUTS if one in named))
        sizes = sizes_of(module, inputs, output)
        before = self.found.get(name)
        self.found[name] = sizes if before is None else before.plus(sizes, name)
        for source in self._flow.sources(inputs):
            self._readers.setdefault(source, set()).add(name)
        self._flow.produced(name, output)

    def _within_product(self) -> bool:
        return bool(self._frames) and self._frames[-1].module in self._products

    def _in_float(self, operation: str) -> None:
        path = self._paths[self._frames[-1].module] if self._frames else ""
        self.floats[f"{spoken(path)}: {self._functions.running or operation}"] = None


@final
class _Functions(TorchFunctionMode):
    """Leads attention calls through modules.

    Attributes:
        running: name of the torch function that the network is in; None between them.
    """

    def __init__(self, tracer: ForwardPass) -> None:
        super().__init__()
        self.running: str | None = None
        self._tracer = tracer

    def __torch_function__(
        self,
        func: Function,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if is_attention(func):
            func = self._tracer.attend() or func
        outer, self.running = self.running, getattr(func, "__name__", None)
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.running = outer
