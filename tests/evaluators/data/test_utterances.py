import numpy as np
import torch

from evaluators.data.phones import INDEX, SILENCE
from evaluators.data.utterances import Utterance, label, pack, unpack


def test_frame_takes_the_phone_at_its_middle() -> None:
    audio = np.zeros(400 + 160 * 5, dtype=np.float32)
    # Middles of the three frames: samples 280, 600 and 920.
    starts = np.array([281.0, 600.0, 921.0])
    classes = np.array([INDEX["aa"], INDEX["b"], INDEX["s"]])

    utterance = label(audio, starts, classes, 16000)

    assert utterance.labels.tolist() == [SILENCE, INDEX["b"], INDEX["b"]]


def test_reference_merges_equal_neighbours_then_drops_silence() -> None:
    names = ["sil", "aa", "aa", "sil", "aa", "b", "b", "sil"]
    classes = np.array([INDEX[name] for name in names])

    utterance = label(
        np.zeros(1000, dtype=np.float32), 100 * np.arange(8, dtype=np.float64), classes, 16000
    )

    assert utterance.phones.tolist() == [INDEX["aa"], INDEX["aa"], INDEX["b"]]


def test_unpack_undoes_pack() -> None:
    random = torch.Generator().manual_seed(0)
    splits = {
        name: [
            Utterance(
                features=torch.rand(frames, 80, generator=random),
                labels=torch.randint(40, (frames,), generator=random),
                phones=torch.randint(40, (frames // 3,), generator=random),
            )
            for frames in lengths
        ]
        for name, lengths in {"train": [5, 9, 1], "test": [4]}.items()
    }

    again = unpack(pack(splits))

    assert list(again) == ["train", "test"]
    for name, utterances in splits.items():
        for one, other in zip(utterances, again[name], strict=True):
            assert torch.equal(one.features, other.features)
            assert torch.equal(one.labels, other.labels)
            assert torch.equal(one.phones, other.phones)
