import fcntl
import os
import pty
import random
import signal
import subprocess
import termios
from collections.abc import Callable

import psutil
import pytest

from benchmarks.service import PATIENCE_S
from tests.e2e.conftest import Reference
from tests.e2e.runs import DSE, Home, pause, reached, results, strike

pytestmark = pytest.mark.slow

# phase, and the longest that the run goes on in it before it is struck, in seconds
KILLS = (
    (None, 1.5),
    ("synthesising speech", 0.3),
    ("computing features", 0.3),
    ("training", 1.0),
    ("training", 3.0),
    ("float network", 3.0),
    ("measuring baselines", 0.4),
    ("searching", 0.5),
    ("searching", 3.0),
    ("measuring on the test split", 0.1),
)
STOPS = (
    ("synthesising speech", signal.SIGINT),
    ("training", signal.SIGTERM),
    ("searching", signal.SIGINT),
    ("measuring on the test split", signal.SIGTERM),
)


def test_ten_kills_of_the_group_change_nothing(reference: Reference, empty_home: Home) -> None:
    draw = random.Random(20)
    killed = 0

    for phase, longest in KILLS:
        process = empty_home.start("run", empty_home.spec(), "--processes", "2")
        if phase is not None:
            assert reached(process, phase)
        pause(process, draw.uniform(0.0, longest))
        code, _ = strike(process, signal.SIGKILL)
        killed += code == -signal.SIGKILL
        assert empty_home.leftovers() == []

    document = empty_home.run()
    # one may end before it is struck
    assert killed >= len(KILLS) - 1
    assert results(document) == results(reference.document)
    assert empty_home.measured() == reference.measured
    assert list(empty_home.folder.rglob("*.tmp")) == []


@pytest.mark.parametrize("phase", ["computing features", "searching"])
def test_nobody_outlives_a_parent_that_is_killed_alone(
    empty_home: Home, warm_home: Callable[[str], Home], phase: str
) -> None:
    home = warm_home("warm") if phase == "searching" else empty_home
    process = home.start("run", home.spec(), "--processes", "2")
    assert reached(process, phase)
    children = psutil.Process(process.pid).children(recursive=True)

    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=PATIENCE_S)

    assert children
    assert home.leftovers() == []
    assert psutil.wait_procs(children, timeout=60)[1] == []


def test_stopped_runs_say_how_to_go_on_and_do(reference: Reference, empty_home: Home) -> None:
    for phase, number in STOPS:
        process = empty_home.start("run", empty_home.spec(), "--processes", "2")
        assert reached(process, phase)
        code, said = strike(process, number)

        assert code == 130, said
        assert "was interrupted" in said
        assert "the same command goes on from there" in said
        assert "Traceback" not in said
        assert empty_home.leftovers() == []
        assert empty_home.query("SELECT state FROM job") == [("READY",)]

    document = empty_home.run()
    assert results(document) == results(reference.document)
    assert empty_home.measured() == reference.measured
    assert document["job"]["attempt"] == len(STOPS) + 1


def test_ctrl_c_at_a_terminal_leaves_it_as_it_was(warm_home: Callable[[str], Home]) -> None:
    home = warm_home("warm")
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(ours)
    process = subprocess.Popen(
        [str(DSE), "run", str(home.spec())],
        env={**home.environment, "TERM": "xterm-256color", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    home.started.append(process)
    os.close(theirs)

    shown = _read_until(ours, b"measuring baselines")
    os.write(ours, b"\x03")
    shown += _read_until(ours, None)

    assert process.wait(PATIENCE_S) == 130
    assert b"the same command goes on from there" in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")
    assert termios.tcgetattr(ours) == before
    os.close(ours)
    assert home.leftovers() == []


def _read_until(terminal: int, text: bytes | None) -> bytes:
    shown = b""
    while text is None or text not in shown:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # what Linux says when the other end is closed
            part = b""
        if not part:
            break
        shown += part
    return shown
