"""Classifiers of digits, 28 x 28 pixels: LeNet-5 and a perceptron of three layers."""

from collections import OrderedDict

from torch import nn


def lenet() -> nn.Sequential:
    """Make LeNet-5 (LeCun et al., Gradient-Based Learning Applied to Document Recognition, 1998)
    as it is made today: rectifiers, largest values of 2 x 2 pixels, and a second convolution that
    sees every map of the first.

    It takes (batch, 1, 28, 28) and returns scores (batch, 10).
    """
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(400, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, 10),
        )
    )


def perceptron() -> nn.Sequential:
    """Make a perceptron 784-256-128-10; it takes (batch, 1, 28, 28) and returns (batch, 10)."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 256),
            relu1=nn.ReLU(),
            fc2=nn.Linear(256, 128),
            relu2=nn.ReLU(),
            fc3=nn.Linear(128, 10),
        )
    )
