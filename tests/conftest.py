import pytest

from tests.command_line import Call, caller


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """`dse` in this process: call("cost", "--workload", …)."""
    return caller(monkeypatch, capsys)
