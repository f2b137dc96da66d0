import math
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from evaluators.models.ctc import BLANK, CtcLoss
from evaluators.models.sru import Dropout, SruTagger


class Scores(nn.Module):
    """Features are the scores already."""

    def forward(self, features: Tensor, dropout: Dropout) -> Tensor:
        return features


def loss(
    features: Tensor, digits: list[list[int]], frames: list[int], smoothing: float = 0.0
) -> float:
    longest = max(map(len, digits))
    labels = torch.tensor([row + [-1] * (longest - len(row)) for row in digits])
    counts = torch.tensor([len(row) for row in digits])
    batch = (features, labels, torch.tensor(frames), counts)
    return float(CtcLoss(smoothing=smoothing)(Scores(), batch, torch.Generator()))


def collapsed(path: tuple[int, ...]) -> list[int]:
    kept = [c for c, before in zip(path, (None, *path[:-1]), strict=True) if c != before]
    return [c - 1 for c in kept if c != BLANK]


def brute_force(scores: Tensor, digits: list[int]) -> float:
    """-log of the summed likelihood of every path that reads `digits`."""
    steps = scores.log_softmax(-1).tolist()
    paths = product(range(scores.shape[1]), repeat=len(steps))
    likelihoods = (
        math.exp(sum(step[c] for step, c in zip(steps, path, strict=True)))
        for path in paths
        if collapsed(path) == digits
    )
    return -math.log(sum(likelihoods))


@pytest.mark.parametrize("digits", [[0], [1, 1], [0, 2, 1]])
def test_loss_is_the_likelihood_of_all_paths(digits: list[int]) -> None:
    scores = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    expected = brute_force(scores, digits) / len(digits)

    assert loss(scores[None], [digits], [5]) == pytest.approx(expected)


def test_smoothing_mixes_in_the_cross_entropy_with_uniform_frames() -> None:
    scores = torch.randn(1, 5, 4, generator=torch.Generator().manual_seed(0))
    even = -sum(step.log_softmax(-1).sum() / 4 for step in scores[0]) / 5

    expected = 0.7 * loss(scores, [[0, 2]], [5]) + 0.3 * float(even)

    assert loss(scores, [[0, 2]], [5], smoothing=0.3) == pytest.approx(expected)


def test_padding_does_not_count() -> None:
    scores = torch.randn(2, 9, 11, generator=torch.Generator().manual_seed(0))
    louder = scores.clone()
    louder[1, 4:] *= 3

    results = [loss(given, [[3, 3, 7], [0]], [9, 4], smoothing=0.1) for given in (scores, louder)]

    assert results[0] == results[1]


def test_strings_count_alike() -> None:
    scores = torch.randn(2, 9, 11, generator=torch.Generator().manual_seed(0))
    digits = [[3, 3, 7], [0]]

    alone = [loss(scores[i : i + 1, :n], [digits[i]], [n]) for i, n in enumerate((9, 4))]

    assert loss(scores, digits, [9, 4]) == pytest.approx(sum(alone) / 2)


def test_dropout_is_drawn_from_the_generator() -> None:
    model = SruTagger(inputs=80, classes=11, generator=torch.Generator().manual_seed(0))
    features = torch.randn(2, 12, 80, generator=torch.Generator().manual_seed(1))
    batch = (features, torch.tensor([[1], [2]]), torch.tensor([12, 12]), torch.tensor([1, 1]))

    losses = [
        float(CtcLoss()(model, batch, torch.Generator().manual_seed(seed)).detach())
        for seed in (0, 0, 1)
    ]

    assert losses[0] == losses[1] != losses[2]
