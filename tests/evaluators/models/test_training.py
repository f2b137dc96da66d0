import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dse.errors import SpecError
from dse.ports import silent
from evaluators.models.sru import Dropout, SruTagger
from evaluators.models.training import Chunks, Course, FrameLoss, train


def utterances(*lengths: int) -> list[tuple[Tensor, Tensor]]:
    """Every frame's features are its number in the corpus; so is its label."""
    numbers = torch.split(torch.arange(sum(lengths)), list(lengths))
    return [(part[:, None].float(), part) for part in numbers]


def test_chunks_are_consecutive_frames_of_one_utterance() -> None:
    chunks = Chunks(utterances(23, 9, 10, 35), length=10, size=3)
    random = np.random.default_rng(0)
    owner = np.repeat(np.arange(4), [23, 9, 10, 35])

    for _, (features, labels) in zip(range(20), chunks.batches(random), strict=False):
        assert features.shape == (3, 10, 1)
        assert torch.equal(features[..., 0], labels.float())
        assert torch.equal(labels, labels[:, :1] + torch.arange(10))
        assert (owner[labels.numpy()] == owner[labels.numpy()][:, :1]).all()


def test_epoch_uses_no_frame_twice() -> None:
    # 2 + 1 + 3 chunks: an epoch is two batches of three.
    batches = Chunks(utterances(23, 10, 35), length=10, size=3).batches(np.random.default_rng(1))

    for _ in range(5):
        frames = torch.cat([next(batches)[1].flatten() for _ in range(2)])
        assert len(set(frames.tolist())) == 60


def test_batch_is_smaller_when_the_corpus_is() -> None:
    features, labels = next(Chunks(utterances(120)).batches(np.random.default_rng(0)))

    assert features.shape == (2, 50, 1)
    assert labels.shape == (2, 50)


def test_corpus_of_short_utterances_is_refused() -> None:
    with pytest.raises(SpecError, match="at least 50 frames, got none"):
        Chunks(utterances(49, 20))


def test_learning_rate_warms_up_then_falls_to_its_last_share() -> None:
    course = Course(steps=400, learning_rate=1.0, warmup=50, last_rate=0.02)

    rates = [course.rate(step) for step in range(400)]

    assert rates[0] == pytest.approx(1 / 50)
    assert max(rates) == rates[49] == rates[50] == 1.0
    assert rates[399] == pytest.approx(0.02, abs=0.003)
    assert rates[50:] == sorted(rates[50:], reverse=True)


def test_learning_rate_may_fall_along_a_cosine() -> None:
    course = Course(steps=250, learning_rate=1.0, warmup=50, last_rate=0.0, fall="cosine")

    rates = [course.rate(step) for step in range(50, 250)]

    assert rates == pytest.approx([(1 + np.cos(np.pi * n / 200)) / 2 for n in range(200)])


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_short_course_has_a_short_warmup(steps: int) -> None:
    rates = [Course(steps=steps, learning_rate=1.0).rate(step) for step in range(steps)]

    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1.0


class Scores(nn.Module):
    """Features are the scores already."""

    def forward(self, features: Tensor, dropout: Dropout) -> Tensor:
        return features


def test_loss_is_smoothed_cross_entropy_over_all_frames() -> None:
    scores = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, 2], [3, 4, 0]])
    target = torch.nn.functional.one_hot(labels, 5) * 0.9 + 0.1 / 5

    expected = -(target * scores.log_softmax(-1)).sum(-1).mean()

    found = FrameLoss(smoothing=0.1)(Scores(), (scores, labels), torch.Generator())
    torch.testing.assert_close(found, expected)


def trained(global_seed: int) -> tuple[dict[str, Tensor], list[tuple[str, int, int]]]:
    torch.manual_seed(global_seed)
    np.random.seed(global_seed)
    random = torch.Generator().manual_seed(5)
    corpus = [
        (torch.randn(60, 80, generator=random), torch.randint(40, (60,), generator=random))
        for _ in range(4)
    ]
    told: list[tuple[str, int, int]] = []
    model = SruTagger(inputs=80, classes=40, generator=random)
    train(
        model,
        Chunks(corpus, size=2).batches(np.random.default_rng(0)),
        Course(steps=2),
        loss=FrameLoss(),
        generator=random,
        progress=lambda label, done, total: told.append((label, done, total)),
    )
    return dict(model.state_dict()), told


def test_training_is_reproducible_whatever_the_global_seeds() -> None:
    first, told = trained(global_seed=1)
    second, _ = trained(global_seed=2)

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert told == [("training", 1, 2), ("training", 2, 2)]


def test_training_learns_a_simple_rule() -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(400, 80, generator=random)
    corpus = [(features, features[:, :4].argmax(-1))]
    model = SruTagger(inputs=80, classes=4, generator=random)
    chunks = Chunks(corpus)

    train(
        model,
        chunks.batches(np.random.default_rng(0)),
        Course(steps=25, learning_rate=1e-2),
        loss=FrameLoss(),
        generator=random,
        progress=silent,
    )

    with torch.inference_mode():
        guesses = model(features[None]).argmax(-1)[0]
    assert (guesses == corpus[0][1]).float().mean() > 0.9
