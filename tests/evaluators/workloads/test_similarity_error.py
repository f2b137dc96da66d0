import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats  # type: ignore[import-untyped]
from torch import Tensor, nn

from evaluators.workloads.similarity_error import (
    FloatArray,
    Judged,
    batches,
    cosines,
    measure,
    pack,
    pearson,
    spearman,
    unpack,
)

Correlation = Callable[[FloatArray, FloatArray], float]
TOKENS = torch.tensor([[3, 1, 0, 0], [2, 0, 0, 0], [5, 5, 5, 5], [4, 0, 0, 0], [1, 6, 2, 0]])
PAIRS = torch.tensor([[0, 1], [0, 2], [1, 3], [2, 4], [3, 4]])


class Angles(nn.Module):
    """A text's vector points to the mean of its tokens, in tenths of a radian."""

    def __init__(self, factor: float = 0.1) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, tokens: Tensor) -> Tensor:
        angles = self.factor * tokens.sum(1) / (tokens != 0).sum(1)
        return torch.stack([angles.cos(), angles.sin()], dim=1)


def judged(reference: Tensor | None = None) -> Judged:
    found = cosines(Angles(), TOKENS, PAIRS) if reference is None else reference.numpy()
    return Judged(
        tokens=TOKENS,
        pairs=PAIRS,
        judged=np.array([0.9, 0.2, 0.5, 0.5, 0.1]),
        reference=found,
    )


def test_batches_hold_each_text_once_without_spare_padding() -> None:
    made = batches(TOKENS, size=2)

    assert [rows.tolist() for rows, _ in made] == [[1, 3], [0, 4], [2]]
    assert [tuple(tokens.shape) for _, tokens in made] == [(2, 1), (2, 3), (1, 4)]
    for rows, tokens in made:
        assert torch.equal(tokens, TOKENS[rows, : tokens.shape[1]])


def test_cosines_are_those_of_the_pairs_as_given() -> None:
    angles = [0.2, 0.2, 0.5, 0.4, 0.3]

    found = cosines(Angles(), TOKENS, PAIRS)

    wanted = [math.cos(angles[a] - angles[b]) for a, b in PAIRS.tolist()]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_the_float_network_is_true_to_itself() -> None:
    metrics = measure(Angles(), judged(), pearson)

    assert metrics["infidelity"] == 0.0
    assert set(metrics) == {"error", "infidelity"}


def test_error_is_held_against_people_and_infidelity_against_the_float_network() -> None:
    texts = judged()
    found = cosines(Angles(0.4), TOKENS, PAIRS)

    metrics = measure(Angles(0.4), texts, spearman)

    person = stats.spearmanr(found, texts.judged).statistic
    itself = stats.pearsonr(found, texts.reference).statistic
    assert metrics["error"] == pytest.approx(100 * (1 - person))
    assert metrics["infidelity"] == pytest.approx(100 * (1 - itself))
    assert metrics["infidelity"] > 0.01


def test_a_network_to_which_all_is_alike_is_wholly_wrong() -> None:
    assert measure(Angles(0.0), judged(), pearson) == {"error": 100.0, "infidelity": 100.0}
    assert measure(Angles(0.0), judged(), spearman)["error"] == 100.0


@pytest.mark.parametrize("correlation", [pearson, spearman])
def test_what_is_not_finite_stays_so(correlation: Correlation) -> None:
    metrics = measure(Angles(math.nan), judged(), correlation)

    assert math.isnan(metrics["error"])
    assert math.isnan(metrics["infidelity"])


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_are_those_of_scipy(ties: bool) -> None:
    draw = np.random.default_rng(3)
    for _ in range(20):
        first, second = draw.normal(size=(2, 30))
        if ties:
            first, second = first.round(), second.round(1)

        assert pearson(first, second) == pytest.approx(stats.pearsonr(first, second).statistic)
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


def test_texts_come_back_from_a_file_as_they_were() -> None:
    texts, calibration = judged(), torch.tensor([[1, 2], [3, 0]])

    tensors = pack({"search": texts, "test": texts}, calibration)
    back = unpack(tensors, ("search", "test"))

    assert torch.equal(tensors["calibration"], calibration)
    for one in back.values():
        assert torch.equal(one.tokens, TOKENS)
        assert torch.equal(one.pairs, PAIRS)
        assert (one.judged == texts.judged).all()
        assert (one.reference == texts.reference).all()
