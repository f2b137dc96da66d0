import math
from typing import final

import pytest
import torch
from torch import Tensor, nn

from evaluators.workloads.photo_error import Judged, divergence, measure, scores


@final
class Brightness(nn.Module):
    """Scores by the mean of each colour."""

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures.mean((2, 3))


@pytest.fixture
def pixels() -> Tensor:
    random = torch.Generator().manual_seed(3)
    return torch.randint(256, (9, 3, 8, 8), generator=random).to(torch.uint8)


def test_divergence_of_two_classes_is_what_the_formula_says() -> None:
    reference = torch.tensor([[math.log(0.75), math.log(0.25)]])
    found = torch.tensor([[math.log(0.5), math.log(0.5)]]) + 7.0

    expected = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert divergence(reference, found) == pytest.approx(expected, rel=1e-6)
    # of two photos the mean; the same scores add nothing
    both = torch.cat([reference, reference]), torch.cat([found, reference])
    assert divergence(*both) == pytest.approx(expected / 2, rel=1e-6)


def test_divergence_is_never_negative_and_keeps_nan() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 1000, generator=random)

    assert divergence(logits, logits) == 0.0
    assert 0.0 <= divergence(logits, logits + 1e-6) < 1e-9
    assert math.isnan(divergence(logits, logits * math.nan))


def test_error_counts_photos_whose_class_is_not_the_first(pixels: Tensor) -> None:
    model = Brightness()
    reference = scores(model, pixels)
    right = reference.argmax(1)
    right[[0, 4, 8]] = (right[[0, 4, 8]] + 1) % 3

    found = measure(model, Judged(pixels=pixels, classes=right, reference=reference))

    assert found == {"error": pytest.approx(100 / 3), "kl": 0.0}


def test_scores_do_not_depend_on_the_batch(pixels: Tensor) -> None:
    apart = torch.cat([scores(Brightness(), one) for one in torch.split(pixels, 1)])

    torch.testing.assert_close(scores(Brightness(), pixels), apart)
