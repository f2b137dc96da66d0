"""What a workload that can be run offers to the accuracy evaluator."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from dse.ports import Progress, Workload


class Network(Workload, Protocol):
    """A workload with a trained network and data.

    Its products are `nn.Linear` modules reachable as `model.get_submodule(layer.name)` for every
    layer of `shape`.

    Attributes:
        digest: SHA-256 (hex) over data and trained weights; known once `prepare` has returned.
    """

    @property
    def digest(self) -> str: ...

    def prepare(self, progress: Progress) -> None:
        """Make data and train, or load both from the cache. Safe to repeat."""

    def model(self) -> nn.Module:
        """Return a fresh copy of the trained float network, in evaluation mode."""

    def calibration(self) -> Sequence[tuple[Tensor, ...]]:
        """Return the arguments of one forward call per calibration sample."""

    def measure(self, model: nn.Module, split: str) -> dict[str, float]:
        """Run `model` on a split ("search", "test", …) and return every metric."""
