import math

import pytest
import torch

from evaluators.arithmetic.psum_maxima import PsumUnits, calibrate_exponents
from evaluators.arithmetic.psum_plan import make_plan
from evaluators.arithmetic.psum_reference import psum_reference
from evaluators.quantizers.learned_sums import Learned, LearnedExponents
from evaluators.quantizers.partial_sums import Summation
from evaluators.quantizers.scheme import ALL, PartialSums, Scheme
from tests.evaluators.arithmetic.psum_cases import gaussian_codes


def _at(sums: PartialSums, *exponents: int) -> LearnedExponents:
    learned = LearnedExponents(len(exponents) * sums.tile, sums)
    units = PsumUnits(tiles=exponents, sums=exponents)
    assert not learned.begun
    learned.begin(Summation(sums=sums, units=units))
    return learned


@pytest.mark.parametrize("group", [1, 2, ALL])
@pytest.mark.parametrize("k", [24, 400])
def test_the_product_is_that_of_the_reference(group: int, k: int) -> None:
    x, w = gaussian_codes(9, k, seed=1), gaussian_codes(7, k, seed=2)
    tile = k // 4
    exponents = calibrate_exponents(x, w, tile=tile).exponents(group_size=group, psum_bits=6)
    learned = _at(PartialSums(tile=tile, bits=6, group=group), *exponents.tolist())
    # anywhere nearer to this exponent than to another
    learned.log2.data += torch.tensor([0.4, -0.4, 0.2, 0.0])

    found = learned.product(x.float(), w.float())

    plan = make_plan(k, tile=tile, group_size=group, psum_bits=6, exponents=exponents)
    assert learned.exponents == plan.exponents
    assert found.detach().tolist() == psum_reference(x, w, plan).tolist()


def test_the_gradient_is_that_of_lsq() -> None:
    learned = _at(PartialSums(tile=1, bits=4, group=1), 2)
    values = torch.tensor([[9.0], [5.0], [-70.0], [90.0]])

    torch.autograd.backward(learned.product(values, torch.ones(1, 1)).sum())

    # q - v / step inside the range, its end outside; step = 4, and d step / d log2 = step ln 2
    slopes = [2 - 9 / 4, 1 - 5 / 4, -8, 7]
    scale = (4 * 1 * 7) ** -0.5
    assert learned.log2.grad is not None
    assert learned.log2.grad.item() == pytest.approx(sum(slopes) * 4 * math.log(2) * scale)


def test_exponents_learn_to_lose_less() -> None:
    x, w = gaussian_codes(64, 32, seed=3).float(), gaussian_codes(8, 32, seed=4).float()
    learned = _at(PartialSums(tile=8, bits=6, group=1), *[13] * 4)
    exact = x @ w.T
    adam = torch.optim.Adam([learned.log2], lr=0.05)
    losses = []
    for _ in range(120):
        adam.zero_grad()
        loss = (learned.product(x, w) - exact).square().mean()
        torch.autograd.backward(loss)
        adam.step()
        losses.append(float(loss.detach()))

    assert min(losses[-20:]) < 0.05 * losses[0]
    assert all(8 <= exponent < 13 for exponent in learned.exponents)


def test_what_was_learned_holds_for_every_tile() -> None:
    sums = PartialSums(tile=8, bits=6, group=2)
    learned = Learned(scheme=Scheme(weights=8, inputs=8, sums=sums), exponents=(3, 1, 4))

    assert learned.summation.exponents(20) == (3, 1, 4)
