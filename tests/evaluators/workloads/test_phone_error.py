import pytest
import torch
from torch import Tensor, nn

from evaluators.data.utterances import Utterance
from evaluators.workloads.phone_error import batches, measure


def utterance(labels: list[int], phones: list[int]) -> Utterance:
    """Features are the one-hot labels, so that `nn.Identity` recognises without error."""
    return Utterance(
        features=torch.eye(40)[labels], labels=torch.tensor(labels), phones=torch.tensor(phones)
    )


def test_perfect_recogniser_makes_no_error() -> None:
    data = batches([utterance([0, 3, 3, 0, 5], [3, 5]), utterance([7, 7, 8], [7, 8])])

    assert measure(nn.Identity(), data) == {"error": 0.0, "frame_error": 0.0}


def test_errors_are_counted_over_the_whole_split() -> None:
    # First: reference 3 5 6, heard 3 5. Second: right. 1 edit of 5 phones, 2 frames of 9 wrong.
    first = utterance([0, 3, 3, 0, 5], [3, 5, 6])
    wrong = Utterance(
        features=first.features, labels=torch.tensor([0, 3, 3, 6, 6]), phones=first.phones
    )

    result = measure(nn.Identity(), batches([wrong, utterance([7, 7, 8, 8], [7, 8])]))

    assert result == pytest.approx({"error": 100 / 5, "frame_error": 200 / 9})


class Deaf(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features * 0


def test_recogniser_that_hears_only_silence_deletes_every_phone() -> None:
    result = measure(Deaf(), batches([utterance([3, 3, 5], [3, 5])]))

    assert result == {"error": 100.0, "frame_error": 100.0}


def test_batches_hold_every_utterance_once_and_little_padding() -> None:
    utterances = [utterance([1] * length, [1]) for length in (9, 2, 7, 3, 8)]

    made = batches(utterances, size=2)

    assert [batch.features.shape for batch in made] == [(2, 3, 40), (2, 8, 40), (1, 9, 40)]
    assert sum(int((batch.labels >= 0).sum()) for batch in made) == 29
