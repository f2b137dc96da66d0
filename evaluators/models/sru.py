"""A tagger of four bidirectional SRU layers with projections between them.

The simple recurrent unit is that of Lei et al. (2018), "Simple Recurrent Units for Highly
Parallelizable Recurrence", eq. 3 to 7, without its scaling constant.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dse.design import Layer, NetworkShape

LAYERS = 4
HIDDEN = 128
PROJECTED = 96
_RESET_BIAS = -1.0
_LARGEST_RECURRENT_WEIGHT = 0.3


def shape(
    inputs: int, classes: int, *, hidden: int = HIDDEN, projected: int = PROJECTED
) -> NetworkShape:
    """Return the products of one frame in order of execution: L0 P1 L1 … L3 FC.

    Args:
        hidden: units of a layer in each direction.
        projected: outputs of each projection.
    """
    both = 2 * hidden
    sizes = [("L0", inputs, 4 * both)]
    for i in range(1, LAYERS):
        sizes += [(f"P{i}", both, projected), (f"L{i}", projected, 3 * both)]
    sizes.append(("FC", both, classes))
    readers = [*(name for name, _, _ in sizes[1:]), None]
    return NetworkShape(
        layers=tuple(
            Layer(name=name, k=k, n=n, input_elements=k, consumers=(reader,) if reader else ())
            for (name, k, n), reader in zip(sizes, readers, strict=True)
        ),
        vector_parameters=LAYERS * 4 * both + classes,
        # A unit takes 16: each of two gates a product, two sums and a sigmoid; state and output
        # two products, a difference from one and a sum each. A bias starts FC's accumulators.
        elementwise_operations=LAYERS * both * 16,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """Noise on the output of each layer, for training.

    One mask serves all time steps of a sequence (Gal and Ghahramani, 2016), which also costs less.

    Attributes:
        rate: share of the outputs set to zero; the others are scaled up.
    """

    rate: float
    generator: torch.Generator

    def __call__(self, hidden: Tensor) -> Tensor:
        keep = torch.empty_like(hidden[0]).bernoulli_(1 - self.rate, generator=self.generator)
        return hidden * keep.div_(1 - self.rate)


class SruTagger(nn.Module):
    """Tag every frame with class scores. The products are `nn.Linear` modules L0 P1 L1 … FC.

    Args:
        hidden, projected: as in `shape`.
        generator: draws the initial weights.
    """

    def __init__(
        self,
        *,
        inputs: int,
        classes: int,
        generator: torch.Generator,
        hidden: int = HIDDEN,
        projected: int = PROJECTED,
    ) -> None:
        super().__init__()
        self._both = 2 * hidden
        for layer in shape(inputs, classes, hidden=hidden, projected=projected).layers:
            # nn.Linear draws values of its own from the global generator; leave no trace there.
            with torch.random.fork_rng(devices=[]):
                linear = nn.Linear(layer.k, layer.n, bias=layer.name == "FC")
            bound = (3 / layer.k) ** 0.5
            nn.init.uniform_(linear.weight, -bound, bound, generator=generator)
            self.add_module(layer.name, linear)
        nn.init.zeros_(self.get_submodule("FC").get_parameter("bias"))
        self.cells = nn.ModuleList(SruCell(self._both, generator=generator) for _ in range(LAYERS))

    def forward(self, features: Tensor, dropout: Dropout | None = None) -> Tensor:
        """Return scores (batch, time, classes) of features (batch, time, inputs).

        A frame of zeros is padding: it changes no other frame's scores.
        """
        frames = features.transpose(0, 1).contiguous()
        real = frames.any(-1, keepdim=True)
        products = self.get_submodule("L0")(frames)
        updates, highway = products.split((3 * self._both, self._both), dim=-1)
        hidden = _heard(self.cells[0](updates, highway), real, dropout)
        for i in range(1, LAYERS):
            updates = self.get_submodule(f"L{i}")(self.get_submodule(f"P{i}")(hidden))
            hidden = _heard(self.cells[i](updates, hidden), real, dropout)
        scores: Tensor = self.get_submodule("FC")(hidden)
        return scores.transpose(0, 1)


def _heard(hidden: Tensor, real: Tensor, dropout: Dropout | None) -> Tensor:
    # Products without bias keep padding at zero, but a state that has passed the utterance's end
    # still sounds there, and the next layer's backward direction would start from it.
    audible = hidden if bool(real.all()) else hidden * real
    return audible if dropout is None else dropout(audible)


class SruCell(nn.Module):
    """The recurrence of one layer in both directions: the first half of each vector belongs to
    the direction forward in time, the second half to the one backward.

    Args:
        width: units of both directions together.
    """

    def __init__(self, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, width))
        self.bias = nn.Parameter(torch.zeros(2, width))
        largest = _LARGEST_RECURRENT_WEIGHT
        nn.init.uniform_(self.weight, -largest, largest, generator=generator)
        nn.init.constant_(self.bias[1], _RESET_BIAS)

    def forward(self, updates: Tensor, highway: Tensor) -> Tensor:
        """Return h (time, batch, width) of updates (time, batch, 3 * width) and highway, as h."""
        return scan(updates, highway, self.weight, self.bias)


def scan(updates: Tensor, highway: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Run the recurrence over time, in both directions at once.

        f_t = sigmoid(u_f + v_f c_{t-1} + b_f)      c_t = f_t c_{t-1} + (1 - f_t) u_x
        r_t = sigmoid(u_r + v_r c_{t-1} + b_r)      h_t = r_t c_t + (1 - r_t) u_h

    Args:
        updates: u_x, u_f and u_r side by side: (time, batch, 3 * width).
        highway: u_h: (time, batch, width).
        weight: v_f and v_r: (2, width).
        bias: b_f and b_r: (2, width).

    Returns:
        h: (time, batch, width).
    """
    out: Tensor = _Scan.apply(updates, highway, weight, bias)  # type: ignore[no-untyped-call]
    return out


class _Scan(torch.autograd.Function):
    # Everything inside runs on a time axis turned round for the backward direction. Only what
    # needs the step before is in a loop: three small operations a step forward, one backward.

    @staticmethod
    def forward(
        ctx: Any, updates: Tensor, highway: Tensor, weight: Tensor, bias: Tensor
    ) -> Tensor:
        u_x, u_f, u_r = (_turn(part) for part in updates.chunk(3, dim=-1))
        states = u_x.new_empty(u_x.shape[0] + 1, *u_x.shape[1:])
        states[0] = 0
        forget = u_f.add_(bias[0])
        carried = states.unbind(0)
        for t, (x, f) in enumerate(zip(u_x.unbind(0), forget.unbind(0), strict=True)):
            f.addcmul_(carried[t], weight[0]).sigmoid_()
            torch.lerp(x, carried[t], f, out=carried[t + 1])
        reset = u_r.add_(bias[1]).addcmul_(states[:-1], weight[1]).sigmoid_()
        through = _turn(highway)
        ctx.save_for_backward(u_x, forget, reset, states, through, weight)
        return _turn(torch.lerp(through, states[1:], reset))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        u_x, forget, reset, states, through, weight = ctx.saved_tensors
        before, after = states[:-1], states[1:]
        grad = _turn(grads[0])
        passed, kept = 1 - reset, 1 - forget
        to_reset = (after - through).mul_(grad).mul_(reset).mul_(passed)
        to_state = grad * reset
        to_state[:-1].addcmul_(to_reset[1:], weight[1])
        # dc_t / df_t before its sigmoid, then dc_t / dc_{t-1}
        slope = (before - u_x).mul_(forget).mul_(kept)
        jacobian = torch.addcmul(forget, slope, weight[0]).unbind(0)
        steps = to_state.unbind(0)
        for t in range(len(steps) - 2, -1, -1):
            steps[t].addcmul_(steps[t + 1], jacobian[t + 1])
        to_forget = slope.mul_(to_state)
        to_updates = grad.new_empty(*grad.shape[:-1], 3 * grad.shape[-1])
        parts = kept.mul_(to_state), to_forget, to_reset
        for out, part in zip(to_updates.chunk(3, dim=-1), parts, strict=True):
            _turn(part, out)
        gates = to_forget, to_reset
        return (
            to_updates,
            _turn(grad.mul_(passed)),
            torch.stack([(gate * before).sum((0, 1)) for gate in gates]),
            torch.stack([gate.sum((0, 1)) for gate in gates]),
        )


def _turn(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Copy, with the second half of the last axis turned round in time; its own inverse."""
    if out is None:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
    half = x.shape[-1] // 2
    out[..., :half] = x[..., :half]
    backward = torch.arange(x.shape[0] - 1, -1, -1, device=x.device)
    # flip() would copy into memory of its own first
    torch.index_select(x[..., half:], 0, backward, out=out[..., half:])
    return out
