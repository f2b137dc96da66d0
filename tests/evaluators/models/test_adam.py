import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from evaluators.models.adam import Adam


def parameters() -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(*size, generator=random)) for size in ((4, 3), (5,), (2, 2))]


def gradients(step: int) -> list[Tensor | None]:
    """The second parameter has none before the third step."""
    random = torch.Generator().manual_seed(step)
    found = [torch.randn(*size, generator=random) for size in ((4, 3), (5,), (2, 2))]
    return [found[0], None if step < 3 else found[1], found[2]]


@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_it_moves_parameters_as_torchs_own_class_does(betas: tuple[float, float]) -> None:
    ours, theirs = parameters(), parameters()
    adam = Adam(ours[:2], ours[2:], betas=betas)
    other = torch.optim.Adam([{"params": theirs[:2]}, {"params": theirs[2:]}], betas=betas)

    for step in range(20):
        rates = 0.1 / (step + 1), 0.5 / (step + 1)
        for group, rate in zip(other.param_groups, rates, strict=True):
            group["lr"] = rate
        for mine, its, grad in zip(ours, theirs, gradients(step), strict=True):
            mine.grad = None if grad is None else grad.clone()
            its.grad = grad
        adam.step(*rates)
        other.step()

    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    state = other.state_dict()["state"]
    assert {i: sorted(one) for i, one in adam.state().items()} == {
        i: sorted(one) for i, one in state.items()
    }


def test_moments_restored_go_on_to_the_same_parameters() -> None:
    whole, cut = parameters(), parameters()

    def run(adam: Adam, mine: list[nn.Parameter], steps: range) -> None:
        for step in steps:
            for parameter, grad in zip(mine, gradients(step), strict=True):
                parameter.grad = grad
            adam.step(0.1)

    run(Adam(whole), whole, range(10))
    before = Adam(cut)
    run(before, cut, range(4))
    after = Adam(cut)
    after.restore(before.state())
    run(after, cut, range(4, 10))

    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


def test_cleared_gradients_move_nothing() -> None:
    mine = parameters()
    mine[0].grad = torch.ones(4, 3)
    adam = Adam(mine)

    adam.clear()
    adam.step(1.0)

    assert all(torch.equal(a, b) for a, b in zip(mine, parameters(), strict=True))


def test_a_rate_is_needed_for_each_group() -> None:
    with pytest.raises(ValueError, match="zip"):
        Adam(parameters()).step(0.1, 0.2)


def test_a_step_does_not_load_torchs_compiler() -> None:
    script = """
import sys, torch
from evaluators.models.adam import Adam
one = torch.nn.Parameter(torch.ones(3))
one.grad = torch.ones(3)
Adam([one]).step(0.1)
print("torch._dynamo" in sys.modules)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert told.stdout.strip() == "False", told.stderr
