"""ZigZag in a process of its own: asked for one layer at a time, within a time limit."""

import atexit
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from queue import Empty, SimpleQueue
from threading import Lock, Thread, Timer
from typing import IO, Final, final

from dse.errors import EvaluationError
from evaluators.hardware.accesses import Dataflow

COMMAND: Final = (sys.executable, "-m", "evaluators.hardware.zigzag_layer")
_IDLE_S: Final = 30.0


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRequest:
    """What ZigZag is asked: a product on an array of rows x columns under one dataflow.

    Attributes:
        w, a, p, o: bits of weights, inputs, partial sums and finished outputs.
        input_bits, weight_bits, output_bits: sizes of the buffers.
        sram_width, dram_width: bits a cycle of each buffer, and of DRAM.
    """

    dataflow: Dataflow
    m: int
    k: int
    n: int
    rows: int
    columns: int
    w: int
    a: int
    p: int
    o: int
    input_bits: int
    weight_bits: int
    output_bits: int
    sram_width: int
    dram_width: int


@final
class ZigzagProcess:
    """A process that answers requests, started when it is needed. It ends by `close`, by a layer
    that takes too long, with its parent, or when nothing was asked for a while: it holds 200 MB.

    Args:
        idle_s: seconds without a request after which it ends.
    """

    def __init__(self, command: Sequence[str] = COMMAND, *, idle_s: float = _IDLE_S) -> None:
        self._command = command
        self._idle_s = idle_s
        self._timer: Timer | None = None
        self._lock = Lock()
        self._child: subprocess.Popen[str] | None = None
        self._lines: SimpleQueue[str] = SimpleQueue()

    def ask(self, request: LayerRequest, *, timeout_s: float) -> dict[str, float]:
        """Return ZigZag's account of a layer, as `zigzag_layer.account` names it.

        Raises:
            EvaluationError: ZigZag is absent, fails, dies or takes longer than `timeout_s`.
        """
        with self._lock:
            child = self._started()
            try:
                assert child.stdin is not None
                child.stdin.write(json.dumps(asdict(request)) + "\n")
                child.stdin.flush()
                line = self._lines.get(timeout=timeout_s)
            except Empty as error:
                self._end()
                raise EvaluationError(
                    f"ZigZag took longer than {timeout_s:g} s; allowed: another timeout_s"
                ) from error
            except OSError as error:
                self._end()
                raise EvaluationError(f"ZigZag's process has ended: {error}") from error
            if not line:
                self._end()
                raise EvaluationError("ZigZag's process has ended without an answer")
            self._rest()
        return _figures(line)

    def close(self) -> None:
        """End the process; the next request starts another."""
        with self._lock:
            self._end()

    def _rest(self) -> None:
        self._timer = Timer(self._idle_s, self.close)
        self._timer.daemon = True
        self._timer.start()

    def _started(self) -> subprocess.Popen[str]:
        if self._timer is not None:
            self._timer.cancel()
        if self._child is None:
            self._lines = SimpleQueue()
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._child.stdout is not None
            Thread(target=_pass_on, args=(self._child.stdout, self._lines), daemon=True).start()
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if self._timer is not None:
            self._timer.cancel()
        if child is None:
            return
        child.kill()
        child.wait()
        if child.stdin is not None:
            try:
                child.stdin.close()
            except OSError:
                pass  # what was still to be written to the dead


def _pass_on(stream: IO[str], lines: SimpleQueue[str]) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")


def _figures(line: str) -> dict[str, float]:
    told = json.loads(line)
    if "absent" in told:
        raise EvaluationError(
            f"ZigZag is not installed: {told['absent']}; pip install 'beacon-dse[zigzag]'"
        )
    if "failed" in told:
        raise EvaluationError(f"ZigZag failed: {told['failed']}")
    return {name: float(value) for name, value in told["figures"].items()}


@lru_cache(maxsize=8192)
def zigzag_account(request: LayerRequest, timeout_s: float) -> dict[str, float]:
    """As `ZigzagProcess.ask` of one process for all, each layer once; what went wrong is asked
    again."""
    return _the_process().ask(request, timeout_s=timeout_s)


@lru_cache(maxsize=1)
def _the_process() -> ZigzagProcess:
    process = ZigzagProcess()
    atexit.register(process.close)
    return process
