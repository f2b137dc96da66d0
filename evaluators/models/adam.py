"""Adam (Kingma and Ba 2015, arXiv 1412.6980) as torch computes it, without its optimizer class.

The class imports torch's compiler when it is first made: more than a second of every process that
trains, and the arithmetic is in a function of its own.
"""

from collections.abc import Iterable, Mapping
from typing import final

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

State = Mapping[int, Mapping[str, Tensor]]

_EPSILON = 1e-8


@final
class Adam:
    """The moments of parameters, in groups that may learn at different rates.

    Args:
        groups: parameters that share a rate.
        betas: how slowly gradients and their squares are forgotten.
    """

    def __init__(
        self, *groups: Iterable[nn.Parameter], betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self._groups = [list(group) for group in groups]
        self._betas = betas
        self._moments: dict[int, dict[str, Tensor]] = {}

    def clear(self) -> None:
        """Forget the gradients."""
        for group in self._groups:
            for parameter in group:
                parameter.grad = None

    @torch.no_grad()
    def step(self, *rates: float) -> None:
        """Move each parameter that has a gradient, at the rate of its group."""
        first = 0
        for group, rate in zip(self._groups, rates, strict=True):
            moved = [(i, p, p.grad) for i, p in enumerate(group, first) if p.grad is not None]
            first += len(group)
            moments = [self._of(i, parameter) for i, parameter, _ in moved]
            adam(
                [parameter for _, parameter, _ in moved],
                [grad for _, _, grad in moved],
                [one["exp_avg"] for one in moments],
                [one["exp_avg_sq"] for one in moments],
                [],
                [one["step"] for one in moments],
                amsgrad=False,
                beta1=self._betas[0],
                beta2=self._betas[1],
                lr=rate,
                weight_decay=0.0,
                eps=_EPSILON,
                maximize=False,
            )

    def state(self) -> State:
        """Return the moments by the parameter's number, counted through all groups; they go on
        changing. The layout is that of `torch.optim.Adam`."""
        return self._moments

    def restore(self, state: State) -> None:
        """Go on from moments that `state` gave."""
        self._moments = {
            i: {name: tensor.clone() for name, tensor in one.items()} for i, one in state.items()
        }

    def _of(self, index: int, parameter: nn.Parameter) -> dict[str, Tensor]:
        if index not in self._moments:
            like = torch.zeros_like(parameter, memory_format=torch.preserve_format)
            self._moments[index] = {
                "step": torch.tensor(0.0),
                "exp_avg": like,
                "exp_avg_sq": like.clone(),
            }
        return self._moments[index]
