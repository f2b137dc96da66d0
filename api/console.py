"""What the command line shows: progress bars and tables, on stderr and stdout."""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from api.tables import metric_unit, widths

_PIPED_WIDTH = 160


def _console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PIPED_WIDTH
    return console


out = _console()
err = _console(stderr=True)

Item = Mapping[str, Any]  # one E of a run document: JSON data


@final
class Bars(AbstractContextManager["Bars"]):
    """Progress bars on stderr, one a label; off a terminal one line when a label starts."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, label: str, done: int, total: int) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._progress.add_task(escape(label), total=total)
            if not err.is_terminal:
                err.print(f"{label}: {total} to do", markup=False)
        self._progress.update(self._tasks[label], completed=done, total=total)


def front_table(title: str, items: Sequence[Item], metrics: Sequence[str]) -> Table:
    """Return a table of evaluations, one a row: label or hash, figures, whose weights they come
    from where any was run on a beacon's, widths."""
    table = Table(title=title, title_justify="left")
    table.add_column("design")
    for name in metrics:
        table.add_column(heading(name), justify="right")
    read = any(item.get("beacon") for item in items)
    for name in _READINGS if read else ():
        table.add_column(name, justify="right")
    table.add_column("by layer: bits of weights / activations / others")
    for item in items:
        cells = [figure(item["metrics"].get(name)) for name in metrics]
        cells += _reading(item) if read else []
        table.add_row(escape(item.get("label") or item["hash"][:10]), *cells, widths(item))
    return table


_READINGS = ("weights", r"base error \[%]", "beacon", "distance", r"error on beacon \[%]")


def _reading(item: Item) -> list[str]:
    reading = item.get("beacon") or {}
    told = [reading.get(name) for name in ("number", "distance", "error")]
    return [item.get("origin") or "-", *map(figure, (item.get("base_error"), *told))]


def heading(name: str) -> str:
    """Return a column's name with its unit, if the catalogue knows it."""
    unit = metric_unit(name)
    return (f"{name} [{unit}]" if unit else name).replace("[", r"\[")


def figure(value: float | None) -> str:
    """Return a figure as it is shown: counts whole, measures with four digits."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
