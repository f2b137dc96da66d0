"""One line that tells how far a job is, on a terminal.

By hand, so that the base install needs nothing for it.
"""

import shutil
import sys
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TextIO, final

from dse.client.models import Event, JobView

_BAR = 24
_CLEAR = "\r\x1b[K"


@final
class ProgressLine(AbstractContextManager["ProgressLine"]):
    """The line; shows nothing if `shown` is false or `file` is no terminal."""

    def __init__(self, job: JobView, *, shown: bool, file: TextIO | None = None) -> None:
        self._file = sys.stderr if file is None else file
        self._shown = shown and self._file.isatty()
        self._label = job.name or job.id
        self._total = job.generations
        self._done = job.generation + 1
        self._state = str(job.state)
        self._facts = ""
        self._step = ""

    def __enter__(self) -> "ProgressLine":
        self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown:
            self._file.write("\n")
            self._file.flush()

    def update(self, event: Event) -> None:
        """Draw what an event changes."""
        data = event.data
        if event.kind == "generation.finished":
            self._done = max(self._done, data["generation"] + 1)
            self._facts = f"front {data['front']}, hypervolume {data['hypervolume']:.4g}"
            self._step = ""
        elif event.kind == "job.progress":
            self._step = f"{data['label']} {data['done']}/{data['total']}"
        elif event.kind == "job.state":
            self._state, self._step = data["state"], ""
            self._total = data.get("generations", self._total)
        self._draw()

    def _draw(self) -> None:
        if not self._shown:
            return
        total = max(self._total, self._done, 1)
        full = _BAR * self._done // total
        bar = "#" * full + "-" * (_BAR - full)
        text = f"[{bar}] {self._done}/{total} {self._state}"
        line = "  ".join(filter(None, (text, self._facts, self._step, self._label)))
        columns = shutil.get_terminal_size().columns
        self._file.write(_CLEAR + line[: columns - 1])
        self._file.flush()
