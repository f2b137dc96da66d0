import pytest
import torch
from torch import Tensor, nn

from evaluators.data.digits import DigitString
from evaluators.models.sru import SruTagger
from evaluators.workloads.digit_error import batches, measure


def string(path: list[int], digits: list[int]) -> DigitString:
    """Features are the one-hot path, so that `nn.Identity` hears just this."""
    return DigitString(features=torch.eye(11)[path], digits=torch.tensor(digits))


def test_perfect_recogniser_makes_no_error() -> None:
    data = batches([string([0, 3, 3, 0, 3, 1], [2, 2, 0]), string([10, 10, 0], [9])])

    assert measure(nn.Identity(), data) == {"error": 0.0, "string_error": 0.0}


def test_errors_are_counted_over_the_whole_split() -> None:
    # Right; one digit missing of two; one wrong and one too many for one. 3 edits of 6 digits.
    data = batches(
        [
            string([1, 0, 2, 3], [0, 1, 2]),
            string([5, 5, 0, 0, 0], [4, 4]),
            string([7, 8], [9]),
        ]
    )

    result = measure(nn.Identity(), data)

    assert result == pytest.approx({"error": 300 / 6, "string_error": 200 / 3})


class Chatterbox(nn.Module):
    """Hears a 0 in every frame of padding."""

    def forward(self, features: Tensor) -> Tensor:
        padding = (~features.any(-1)).float()
        return features + torch.eye(11)[1] * padding[..., None]


def test_what_is_heard_in_padding_does_not_count() -> None:
    data = batches([string([3], [2]), string([0, 4, 0, 5, 0, 6], [3, 4, 5])])

    assert measure(Chatterbox(), data) == {"error": 0.0, "string_error": 0.0}


def test_result_does_not_depend_on_the_batches() -> None:
    random = torch.Generator().manual_seed(0)
    model = SruTagger(inputs=80, classes=11, hidden=16, projected=8, generator=random).eval()
    drawn = [
        DigitString(
            features=torch.randn(length, 80, generator=random),
            digits=torch.randint(10, (5,), generator=random),
        )
        for length in (9, 31, 17, 24, 12, 30)
    ]

    results = [measure(model, batches(drawn, size)) for size in (1, 4, 6)]

    assert results[0]["error"] > 0
    assert results[0] == results[1] == results[2]


def test_batches_hold_every_string_once_and_little_padding() -> None:
    drawn = [string([0] * length, [1]) for length in (9, 2, 7, 3, 8)]

    made = batches(drawn, size=2)

    assert [one.features.shape for one in made] == [(2, 3, 11), (2, 8, 11), (1, 9, 11)]
    assert [one.frames.tolist() for one in made] == [[2, 3], [7, 8], [9]]
