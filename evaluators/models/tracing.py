import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from dse.design import NetworkShape
from dse.errors import EvaluationError
from evaluators.models.attention import separate_attention
from evaluators.models.forward_pass import ForwardPass, spoken
from evaluators.models.sizes import is_product


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traced:
    """A network whose layers are known.

    Attributes:
        model: reaches every layer by `get_submodule(layer.name)`.
        shape: of one inference. A layer's consumers are those that read its output through any
            operations but other layers, itself if it is used again on what it gave.
        floats: every matrix product that stays in float, as "module path: function"; the path
            "model" is the network itself.
    """

    model: nn.Module
    shape: NetworkShape
    floats: tuple[str, ...]


def trace(model: nn.Module, sample: tuple[Tensor, ...]) -> Traced:
    """Find the layers of a network: what one forward pass runs of `nn.Linear`, `nn.Conv1d`,
    `nn.Conv2d` and `MatMul` modules, and the products of attention.

    The model is put into evaluation mode and changed in place where attention asks for it:
    every `nn.MultiheadAttention` becomes a `SeparateAttention`, and a module that calls
    `functional.scaled_dot_product_attention` gets a child `sdpa` (`sdpa_1`, … for further calls)
    through which its calls go from then on.

    A layer whose weight the network reads elsewhere too, other than through a module that holds
    it, stays in float: its codes could not stand for both.

    Args:
        sample: arguments of one forward call, a batch of one.

    Raises:
        EvaluationError: parameters without values, a forward pass that raises, gives no tensor
            or runs no product that can be quantized; the message names the module.
    """
    _check(model)
    model.eval()
    with torch.random.fork_rng(devices=[]):
        separate_attention(model)
        observed = ForwardPass(model)
        output = observed.run(sample)
        shared = observed.read_elsewhere()
        if shared:
            observed.withdraw()
            observed = ForwardPass(model, leave=shared)
            output = observed.run(sample)
    if not _holds_tensor(output):
        raise EvaluationError(
            f"the model must return a tensor, or a tuple, list, dict or dataclass of tensors, "
            f"got {type(output).__name__}"
        )
    if not observed.found:
        raise EvaluationError(
            "the model must run at least one nn.Linear, nn.Conv1d, nn.Conv2d, MatMul or "
            f"attention, got none; products in float: {', '.join(observed.floats) or 'none'}"
        )
    observed.route()
    return Traced(model=model, shape=observed.shape(), floats=tuple(observed.floats))


def _check(model: nn.Module) -> None:
    if is_product(model) or isinstance(model, nn.MultiheadAttention):
        kind = type(model).__name__
        raise EvaluationError(
            f"a layer must be a submodule of the model, but the model itself is a {kind}: "
            f"put it into an nn.Sequential"
        )
    for path, module in model.named_modules():
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and (is_lazy(tensor) or tensor.is_meta):
                state = "is lazy, its shape unknown" if is_lazy(tensor) else "is on device meta"
                raise EvaluationError(
                    f"every parameter and buffer must have values, but {name!r} of module "
                    f"{spoken(path)!r} {state}"
                )


def _holds_tensor(output: object) -> bool:
    leaves = tree_leaves(output)
    if any(isinstance(leaf, Tensor) for leaf in leaves):
        return True
    return any(
        _holds_tensor([getattr(leaf, one.name) for one in dataclasses.fields(leaf)])
        for leaf in leaves
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type)
    )
