import os
import signal
from pathlib import Path

import pytest

from tests.command_line import Call, caller

_TRACED = Path(__file__).parent / "dse"


def pytest_configure() -> None:
    # what runs tests side by side tells its processes how wide the terminal is
    os.environ.pop("COLUMNS", None)
    # a shell starts what runs in the background deaf to Ctrl-C, and its children inherit that
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have `dse` covered by its own tests alone: tracing doubles the time of all the others."""
    for item in items:
        if not item.path.is_relative_to(_TRACED):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`dse` in this process: call("cost", "--workload", …)."""
    return caller(monkeypatch, capsys)
