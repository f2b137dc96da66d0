"""A front as a sequence of evaluations, and as a table."""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final, overload

from dse.client.models import Evaluation
from dse.errors import DseError

if TYPE_CHECKING:
    import pandas

Cell = str | int | float | None


@final
class Front(Sequence[Evaluation]):
    """The non-dominated feasible evaluations of a job, by ascending objectives, the first one
    first.

    Attributes:
        objectives: the metrics that were searched for, in the spec's order.
    """

    def __init__(self, evaluations: Sequence[Evaluation], *, objectives: Sequence[str]) -> None:
        self.objectives = tuple(objectives)
        self._evaluations = tuple(sorted(evaluations, key=self._place))

    def __len__(self) -> int:
        return len(self._evaluations)

    @overload
    def __getitem__(self, index: int) -> Evaluation: ...

    @overload
    def __getitem__(self, index: slice) -> "Front": ...

    def __getitem__(self, index: int | slice) -> "Evaluation | Front":
        if isinstance(index, slice):
            return Front(self._evaluations[index], objectives=self.objectives)
        return self._evaluations[index]

    def __iter__(self) -> Iterator[Evaluation]:
        return iter(self._evaluations)

    def __repr__(self) -> str:
        return f"<Front of {len(self)} designs, objectives {', '.join(self.objectives)}>"

    def _place(self, evaluation: Evaluation) -> tuple[list[float], str]:
        figures = [evaluation.metrics.get(name, math.inf) for name in self.objectives]
        return figures, evaluation.hash

    @property
    def metrics(self) -> tuple[str, ...]:
        """Every metric of the front: the objectives, then the others by name."""
        others = {name for e in self for name in e.metrics} - set(self.objectives)
        return (*self.objectives, *sorted(others))

    @property
    def columns(self) -> tuple[str, ...]:
        """The headings of its table: `hash`, metrics by name, choices as `knob@layer`; where any
        design was run on a beacon, what both weights gave."""
        choices = dict.fromkeys(
            f"{knob}@{layer}"
            for e in self
            for knob, layers in e.design.items()
            for layer in layers
        )
        readings = _READINGS if any(e.beacon is not None for e in self) else ()
        return ("hash", "generation", "origin", *readings, *self.metrics, *choices)

    def rows(self) -> list[tuple[Cell, ...]]:
        """Return its table, a design a row, in the order of `columns`."""
        columns = self.columns
        return [tuple(_cells(e).get(column) for column in columns) for e in self]

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the table as CSV and write it to `path`, if there is one."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(self.rows())
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8", newline="")
        return text.getvalue()

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a data frame, (designs, columns).

        Raises:
            DseError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise DseError("to_pandas needs pandas: pip install pandas") from error
        return pandas.DataFrame(self.rows(), columns=list(self.columns))


_READINGS = ("base_error", "beacon", "beacon_distance", "beacon_error")


def _cells(evaluation: Evaluation) -> dict[str, Cell]:
    cells: dict[str, Cell] = {
        f"{knob}@{layer}": value
        for knob, layers in evaluation.design.items()
        for layer, value in layers.items()
    }
    cells.update(evaluation.metrics)
    cells["hash"] = evaluation.hash
    cells["generation"] = evaluation.generation
    cells["origin"] = evaluation.origin
    cells["base_error"] = evaluation.base_error
    reading = evaluation.beacon
    if reading is not None:
        cells["beacon"] = reading.number
        cells["beacon_distance"] = reading.distance
        cells["beacon_error"] = reading.error
    return cells
