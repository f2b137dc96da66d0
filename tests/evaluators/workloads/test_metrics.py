import pytest
import torch
from torch import Tensor

from dse.errors import EvaluationError
from evaluators.workloads.metrics import METRICS, Mean


def _mean(name: str, pairs: list[tuple[Tensor, Tensor]]) -> float:
    mean = Mean(METRICS[name])
    for outputs, targets in pairs:
        mean.add(outputs, targets)
    return mean.value


def _drawn(samples: int, classes: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples)
    scores = torch.randn(samples, classes, generator=generator)
    return scores, torch.randint(classes, (samples,), generator=generator)


@pytest.mark.parametrize("batch", [1, 4, 10, 23])
@pytest.mark.parametrize("name", sorted(METRICS))
def test_mean_is_of_samples_however_they_are_batched(name: str, batch: int) -> None:
    scores, labels = _drawn(23)
    targets = torch.flip(scores, [0]) if name == "mse" else labels

    whole = _mean(name, [(scores, targets)])
    parts = _mean(
        name, [(scores[at : at + batch], targets[at : at + batch]) for at in range(0, 23, batch)]
    )

    assert whole == pytest.approx(parts, rel=1e-12)
    assert whole > 0


@pytest.mark.parametrize("among", [1, 5])
def test_class_counts_as_right_if_few_others_score_higher(among: int) -> None:
    scores, labels = _drawn(200)

    higher = (scores > scores.gather(1, labels[:, None])).sum(1)

    expected = 100.0 * float((higher >= among).double().mean())
    assert _mean(f"top{among}-error", [(scores, labels)]) == pytest.approx(expected)


def test_error_of_pixels_is_their_share_in_each_sample() -> None:
    scores = torch.eye(3)[None, :, :, None].expand(2, 3, 3, 4)  # class = row
    labels = torch.arange(3)[:, None].expand(3, 4).clone()[None].repeat(2, 1, 1)
    labels[1, 0, :2] = 2

    assert _mean("top1-error", [(scores, labels)]) == pytest.approx(100.0 * 2 / 24)


def test_top5_of_fewer_classes_is_never_wrong() -> None:
    scores, labels = _drawn(9, classes=3)

    assert _mean("top5-error", [(scores, labels)]) == 0.0


def test_figure_of_a_whole_batch_counts_for_each_of_its_samples() -> None:
    mean = Mean(lambda outputs, targets: float(len(targets)))
    for size in (3, 1):
        mean.add(torch.zeros(size), torch.zeros(size))

    assert mean.value == (3 * 3 + 1) / 4


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "message"),
    [
        ("top1-error", torch.zeros(4, 3), torch.zeros(4, 3), r"float32 \(4, 3\)"),
        ("top1-error", torch.zeros(4), torch.zeros(4).long(), r"\(batch, classes, ...\)"),
        ("top1-error", torch.zeros(4, 3), torch.full((4,), 3), "classes 0 .. 2, got 3 .. 3"),
        ("top1-error", torch.zeros(4, 3), torch.zeros(5).long(), r"int64 \(5,\)"),
        ("top1-error", {"scores": torch.zeros(4, 3)}, torch.zeros(4).long(), "got dict"),
        ("mse", torch.zeros(4, 3), torch.zeros(4, 1), r"float32 \(4, 1\)"),
    ],
)
def test_what_does_not_go_with_a_metric_is_named(
    name: str, outputs: object, targets: Tensor, message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        Mean(METRICS[name]).add(outputs, targets)


def test_metric_of_another_shape_is_refused() -> None:
    mean = Mean(lambda outputs, targets: outputs)

    with pytest.raises(EvaluationError, match=r"one a sample \(4,\), got \(4, 3\)"):
        mean.add(torch.zeros(4, 3), torch.zeros(4))
