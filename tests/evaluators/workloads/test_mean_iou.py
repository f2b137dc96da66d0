import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from evaluators.workloads.mean_iou import confusion_of, mean_iou, segmentation_error


def scores(classes: torch.Tensor, among: int = 4) -> torch.Tensor:
    return one_hot(classes, among).permute(0, 3, 1, 2).float()


def test_mean_iou_is_that_of_sets_of_pixels() -> None:
    random = np.random.default_rng(0)
    labels, found = random.integers(0, 3, size=(2, 5, 6, 7))
    batches = [
        (scores(torch.from_numpy(found[part])), torch.from_numpy(labels[part]))
        for part in (slice(0, 2), slice(2, 5))
    ]

    confusion = confusion_of(nn.Identity(), batches)

    ious = [
        np.sum((labels == c) & (found == c)) / np.sum((labels == c) | (found == c))
        for c in range(3)
    ]
    assert mean_iou(confusion) == pytest.approx(np.mean(ious))
    assert segmentation_error(nn.Identity(), batches) == pytest.approx(100 - 100 * np.mean(ious))
    assert int(confusion.sum()) == labels.size


def test_class_absent_from_both_is_left_out_and_one_predicted_in_vain_is_not() -> None:
    confusion = torch.zeros(4, 4, dtype=torch.int64)
    confusion[0, 0], confusion[1, 1], confusion[0, 2] = 6, 2, 2

    # 6 of 8, 2 of 2, 0 of 2; class 3 is nowhere
    assert mean_iou(confusion) == pytest.approx((0.75 + 1 + 0) / 3)


def test_perfect_prediction_has_no_error() -> None:
    labels = torch.arange(32).reshape(2, 4, 4) % 4

    assert segmentation_error(nn.Identity(), [(scores(labels), labels)]) == 0.0


def test_confusion_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        confusion_of(nn.Identity(), [])
