"""`dse` as a user runs it: real processes, real files, a small but real search."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from benchmarks.service import PATIENCE_S

DSE = Path(sys.executable).with_name("dse")
PHASES = (
    "synthesising speech",
    "computing features",
    "training",
    "float network",
    "measuring baselines",
    "searching",
    "measuring on the test split",
)
"""What a run says on stderr, in this order; what is done already is left out."""

TINY: Mapping[str, Any] = {  # a job spec as JSON data
    "name": "tiny",
    "workload": {"name": "sru-phones", "params": {"sentences": 30, "steps": 10}},
    "platforms": [{"name": "bitfusion"}],
    "knobs": [
        {"knob": "w_bits", "choices": [2, 4, 8, 16]},
        {"knob": "a_bits", "choices": [4, 8, 16]},
    ],
    "objectives": ["error", "speedup"],
    "search": {
        "population": 6,
        "offspring": 4,
        "generations": 6,
        "seed": 3,
        "baselines": ["uniform"],
        "seed_designs": ["uniform"],
    },
}
WORKLOAD = ("--workload", "sru-phones", "--platform", "bitfusion") + tuple(
    part
    for name, value in TINY["workload"]["params"].items()
    for part in ("--workload-param", f"{name}={value}")
)


@dataclass(frozen=True, slots=True)
class Home:
    """A DSE_HOME with a spec and a place for documents beside it.

    Attributes:
        started: its processes, of text or of bytes, in order.
    """

    folder: Path
    started: list[subprocess.Popen[Any]] = field(default_factory=list)

    @property
    def database(self) -> Path:
        return self.folder / "dse.db"

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("DSE_")}
        return {**kept, "DSE_HOME": str(self.folder), "PYTHONWARNINGS": "default"}

    def spec(self, spec: Mapping[str, Any] = TINY) -> Path:
        path = self.folder.with_name(f"{self.folder.name}-{spec['search']['seed']}.yaml")
        path.write_text(json.dumps(spec))
        return path

    def start(self, *arguments: object, output: Path | None = None) -> subprocess.Popen[str]:
        """Start `dse` in a session and process group of its own."""
        command = [str(DSE), *map(str, arguments)]
        sink: IO[str] | int = output.open("w") if output else subprocess.DEVNULL
        try:
            process = subprocess.Popen(
                command,
                env=self.environment,
                stdout=sink,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        finally:
            if not isinstance(sink, int):
                sink.close()
        self.started.append(process)
        return process

    def end(self) -> None:
        """Kill and reap what a test that failed has left running."""
        for process in self.started:
            with process:
                process.kill()

    def run(
        self, *, processes: int = 2, spec: Mapping[str, Any] = TINY, name: str = "run"
    ) -> dict[str, Any]:
        """Run the spec to its end and return its document."""
        target = self.folder.with_name(f"{self.folder.name}-{name}.json")
        process = self.start(
            "run", self.spec(spec), "--json", target, "--processes", str(processes)
        )
        _, said = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, said
        assert "Traceback" not in said
        return self.document(target)

    def document(self, file: Path) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(file.read_text())
        return document

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the database as anybody could."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(statement).fetchall()

    def measured(self) -> list[tuple[Any, ...]]:
        """Return (key, metrics) of every measurement."""
        return self.query("SELECT key, metrics FROM evaluation ORDER BY key")

    def leftovers(self) -> list[psutil.Process]:
        """Return the processes of this home that do not end by themselves within a minute."""
        ours = [p for p in psutil.process_iter() if _home_of(p) == str(self.folder)]
        return psutil.wait_procs(ours, timeout=60)[1]


def reached(process: subprocess.Popen[str], phase: str) -> bool:
    """Read what the run says until it has come to `phase` or further; False if it ended."""
    later = PHASES[PHASES.index(phase) :]
    assert process.stderr is not None
    return any(line.startswith(later) for line in process.stderr)


def pause(process: subprocess.Popen[str], seconds: float) -> None:
    """Let the run go on for a while, unless it ends before."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass


def strike(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal to the whole group; return how the run ended and what it still said."""
    if process.poll() is None:
        os.killpg(process.pid, number)
    _, said = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def results(document: Mapping[str, Any]) -> str:
    """Return all of a document that may not differ between runs, as text."""
    return json.dumps({key: value for key, value in document.items() if key != "job"}, indent=1)


def _home_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("DSE_HOME")
    except psutil.Error:
        return None
