import time
from pathlib import Path

import psutil
import pytest

from dse.errors import DseError, EvaluationError, Interrupted
from dse.ports import Progress, silent
from evaluators.pools.calls import Limits, call

_CALLED = "tests.evaluators.pools.called"


def _call(
    name: str, *arguments: object, limits: Limits | None = None, progress: Progress = silent
) -> object:
    target = f"{_CALLED}:{name}"
    return call(target, arguments, limits=limits or Limits(), progress=progress)


def test_function_returns_from_its_child(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, int, int]] = []

    found = _call("add", 2, 3, progress=lambda *one: told.append(one))

    assert found == 5
    assert ("adding", 1, 2) in told
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "noise on standard output" in captured.err


@pytest.mark.parametrize("kind", ["SpecError", "CacheError", "WeightsError", "EvaluationError"])
def test_error_of_ours_comes_as_it_is(kind: str) -> None:
    with pytest.raises(DseError, match="^as asked$") as found:
        _call("fail", kind)

    assert type(found.value).__name__ == kind


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("fail", ("a bug",), "^ValueError: as asked$"),
        ("die", (), "its process ended with status 3"),
        ("give_what_cannot_cross", (), "pickle"),
        ("give_what_cannot_be_read", (), "sent what cannot be read: ValueError: .*plain data"),
        ("fork_and_die", (), "its process ended with status 9"),
        ("nothing_of_that_name", (), "AttributeError"),
    ],
)
def test_whatever_else_happens_is_an_evaluation_error(
    name: str, arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        _call(name, *arguments)


def test_unknown_name_keeps_its_text() -> None:
    with pytest.raises(ValueError, match="unknown split 'x'; allowed: search"):
        _call("fail", "UnknownNameError")


def test_traceback_of_a_bug_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(EvaluationError):
        _call("fail", "a bug")

    assert "called.py" in capfd.readouterr().err


@pytest.mark.slow
def test_silence_ends_a_child_and_words_do_not(tmp_path: Path) -> None:
    limits = Limits(silence_s=3)

    assert _call("tell", 6.0, limits=limits) == "done"
    with pytest.raises(EvaluationError, match="told of no progress for 3 s"):
        _call("be_silent", tmp_path / "pid", limits=limits)

    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


@pytest.mark.slow
def test_memory_ends_a_child() -> None:
    with pytest.raises(EvaluationError, match="MiB of memory, allowed are 200"):
        _call("hoard", limits=Limits(memory_mib=200))


def test_who_watches_is_told_before_the_child_tells_anything() -> None:
    def progress(label: str, done: int, total: int) -> None:
        raise Interrupted(f"{label} {done} of {total}")

    with pytest.raises(Interrupted, match="preparing 0 of 1"):
        _call("be_silent_from_the_start", progress=progress)


def test_who_watches_may_leave_while_the_child_is_silent() -> None:
    heard = []

    def progress(label: str, done: int, total: int) -> None:
        heard.append(time.monotonic())
        if len(heard) == 2:
            raise Interrupted("enough")

    with pytest.raises(Interrupted, match="enough"):
        _call("be_silent", None, progress=progress)
