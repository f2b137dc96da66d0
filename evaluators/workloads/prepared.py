"""What a workload holds once its data are made and its network is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, final

from torch import Tensor

from dse.errors import EvaluationError, UnknownNameError

Split = TypeVar("Split")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared(Generic[Split]):
    """A trained network with its data.

    Attributes:
        weights: the network's state.
        splits: what each split is measured on, by its name.
        calibration: arguments of one forward call a sample.
        digest: SHA-256 (hex) over data and weights.
    """

    weights: Mapping[str, Tensor]
    splits: Mapping[str, Split]
    calibration: Sequence[tuple[Tensor, ...]]
    digest: str


@final
class Preparation(Generic[Split]):
    """Whether a workload is prepared, and what that gave.

    Attributes:
        done: None until it is set.
    """

    def __init__(self, workload: str) -> None:
        self._workload = workload
        self.done: Prepared[Split] | None = None

    @property
    def result(self) -> Prepared[Split]:
        """Return what was prepared.

        Raises:
            EvaluationError: nothing was yet.
        """
        if self.done is None:
            raise EvaluationError(f"{self._workload} must be prepared before it is used")
        return self.done

    def split(self, name: str, known: Sequence[str]) -> Split:
        """Return what the split called `name` is measured on.

        Raises:
            UnknownNameError: it is none of the workload's.
            EvaluationError: nothing is prepared yet.
        """
        if name not in known:
            raise UnknownNameError("split", name, tuple(known))
        return self.result.splits[name]
