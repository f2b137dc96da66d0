"""`dse` called in this process: as fast as a function, as honest as a command."""

import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from api.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Said]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return what runs `dse` with some arguments."""

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["dse", *map(str, arguments)])
        capsys.readouterr()
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        captured = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int | None)
        return Said(code=code or 0, out=captured.out, err=captured.err)

    return call
