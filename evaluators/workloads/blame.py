"""Which module of a network a failing forward pass fails in."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def blame(model: nn.Module, inputs: tuple[Tensor, ...]) -> str:
    """Run a forward pass again and name the module that first raises or first returns a value
    that is not finite: a path as of `named_modules`, "" for the model itself or nothing found."""
    entered: list[str] = []
    sick: list[str] = []

    def enter(path: str) -> None:
        if not sick:
            entered.append(path)

    def leave(path: str, outputs: object) -> None:
        if sick:
            return
        entered.pop()
        if not all(bool(tensor.isfinite().all()) for tensor in tensors_in(outputs)):
            sick.append(path)

    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda _, __, path=path: enter(path)))
        handles.append(
            module.register_forward_hook(lambda _, __, outputs, path=path: leave(path, outputs))
        )
    try:
        with torch.no_grad():
            model(*(tensor.clone() for tensor in inputs))
    except Exception:
        sick.append(entered[-1] if entered else "")
    finally:
        for handle in handles:
            handle.remove()
    return sick[0] if sick else ""


def tensors_in(outputs: object) -> list[Tensor]:
    """Return the tensors in whatever a module returns, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        return [tensor for part in outputs.values() for tensor in tensors_in(part)]
    if isinstance(outputs, Sequence) and not isinstance(outputs, str):
        return [tensor for part in outputs for tensor in tensors_in(part)]
    return []
