"""A residual network for images of 8 x 8 pixels."""

from torch import Tensor, nn

from digits_workload.images import CLASSES


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is one of 1 x 1 where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, inputs, height, width) to (batch, outputs, height / stride, …)."""
        inner = self.first_norm(self.first(images)).relu()
        return (self.second_norm(self.second(inner)) + self.shortcut(images)).relu()


class ResidualNetwork(nn.Module):
    """A convolution, two blocks, the mean over pixels and a linear layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.same = Block(width, width)
        self.halved = Block(width, 2 * width, stride=2)
        self.classify = nn.Linear(2 * width, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (batch, 1, 8, 8) to scores (batch, classes)."""
        found = self.halved(self.same(self.stem(images).relu()))
        return self.classify(found.mean((2, 3)))
