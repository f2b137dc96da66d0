import hashlib
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from dse.errors import EvaluationError
from evaluators.data import espeak
from evaluators.data.espeak import Line, Spoken, speak
from evaluators.data.speech import SEEN_VOICES, UNSEEN_VOICES

FOX = Line(text="the quick brown fox jumps over the lazy dog", voice="en-us", rate=175, pitch=50)


def heard(lines: list[Line]) -> list[str]:
    return [
        hashlib.sha256(one.samples.tobytes() + repr(one.phones).encode()).hexdigest()
        for one in speak(lines)
    ]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remember(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        children.append(popen(*args, **kwargs))  # type: ignore[call-overload]
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    return children


@pytest.mark.skipif(sys.platform != "linux", reason="figures of the Linux wheel 0.2.4")
def test_first_sentence_of_a_fresh_process_is_the_known_one() -> None:
    (fox,) = speak([FOX])

    assert len(fox.samples) == 57_650
    assert len(fox.phones) == 33
    assert fox.phones[:4] == ((264, "D"), (1288, "@2"), (3457, "k"), (4472, "w"))
    assert fox.phones[-2][1] == "_:"
    assert fox.phones[-1] == (57_650, "_")


def test_same_script_gives_the_same_audio_for_every_voice_used() -> None:
    script = [
        Line(text=text, voice=voice, rate=rate, pitch=pitch)
        for voice in (*SEEN_VOICES, *UNSEEN_VOICES)
        for text, rate, pitch in [("honest heavy judge", 150, 40), ("golden water", 205, 65)]
    ]

    assert heard(script) == heard(script)


def test_unknown_voice_is_a_clear_error() -> None:
    line = Line(text="hello", voice="en-gb", rate=175, pitch=50)

    with pytest.raises(EvaluationError, match=r"exit status 1.*no voice 'en-gb'"):
        list(speak([FOX, line]))


def test_missing_package_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "find_spec", lambda name: None)

    with pytest.raises(EvaluationError, match=r"espeakng-loader.*pip install 'beacon-dse\[server"):
        next(speak([FOX]))


def test_child_ends_when_the_listener_leaves_early(
    started: list[subprocess.Popen[bytes]],
) -> None:
    with closing(speak([FOX] * 200)) as spoken:
        assert isinstance(next(spoken), Spoken)

    assert started[0].returncode == -signal.SIGKILL


def test_child_that_dies_is_an_error(started: list[subprocess.Popen[bytes]]) -> None:
    spoken = speak([FOX] * 200)
    next(spoken)
    started[0].kill()

    with pytest.raises(EvaluationError, match=r"ended early \(exit status -9\)"):
        list(spoken)


_LISTENER = """
import time
from evaluators.data.espeak import Line, speak

spoken = speak([Line(text="one two three", voice="en-us", rate=175, pitch=50)] * 1000)
next(spoken)
print("listening", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_child_outlives_its_parent_by_no_more_than_a_moment(ending: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(espeak.__file__).parents[2])}
    parent = subprocess.Popen(
        [sys.executable, "-c", _LISTENER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    )
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"listening\n"
    (child,) = psutil.Process(parent.pid).children()

    # Ctrl-C reaches the whole group; kill -9 the parent alone.
    if ending == signal.SIGINT:
        os.killpg(parent.pid, ending)
    else:
        parent.kill()
    parent.wait(timeout=10)
    parent.stdout.close()

    gone, alive = psutil.wait_procs([child], timeout=10)
    assert (len(gone), alive) == (1, [])


def test_running_the_module_with_a_closed_pipe_ends_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    started_at = time.monotonic()

    child = subprocess.run(
        [sys.executable, "-m", "evaluators.data.espeak"],
        input=b'[{"text": "hello", "voice": "en-us", "rate": 175, "pitch": 50}]',
        stdout=writing,
        stderr=subprocess.PIPE,
        cwd=Path(espeak.__file__).parents[2],
        timeout=30,
    )
    os.close(writing)

    assert (child.returncode, child.stderr) == (1, b"")
    assert time.monotonic() - started_at < 10
