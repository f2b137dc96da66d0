import torch

from evaluators.models.lenet import lenet, perceptron


def test_lenet_has_the_sizes_of_the_paper() -> None:
    model = lenet()

    # 61,706 with a full second convolution, as commonly counted
    assert sum(parameter.numel() for parameter in model.parameters()) == 61_706
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_perceptron_has_784_256_128_10_units() -> None:
    model = perceptron()

    assert sum(p.numel() for p in model.parameters()) == 785 * 256 + 257 * 128 + 129 * 10
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
