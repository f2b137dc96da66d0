"""Speech from the eSpeak NG library of the package espeakng-loader.

The library keeps hidden state: the same sentence twice in one process gives different audio, but
the same sequence of sentences in a fresh process is bit-identical. So a corpus is made by one
fresh child process (`python -m evaluators.data.espeak`) in a fixed order. The child reads all its
lines from stdin, then streams audio to stdout; it ends when that pipe breaks.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from dse.errors import EvaluationError

SAMPLE_RATE_HZ = 22050


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A sentence to be spoken.

    Attributes:
        voice: eSpeak's name with a variant, e.g. "en-us+m3"; unknown variants go unnoticed.
        rate: words a minute.
        pitch: 0..100.
    """

    text: str
    voice: str
    rate: int
    pitch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """Audio with its phones.

    Attributes:
        samples: int16 (n_samples,) at `SAMPLE_RATE_HZ`.
        phones: (first sample, eSpeak mnemonic), in order; a phone ends where the next begins.
    """

    samples: NDArray[np.int16]
    phones: tuple[tuple[int, str], ...]


def speak(lines: Sequence[Line]) -> Generator[Spoken]:
    """Speak the lines in one fresh child process, in order.

    Close the iterator (`contextlib.closing`) when leaving early: that ends the child.

    Raises:
        EvaluationError: the package is missing, or the library does not do its work.
    """
    if find_spec("espeakng_loader") is None:
        raise EvaluationError(
            "speech synthesis needs the package espeakng-loader, which is not installed; "
            "allowed: pip install 'beacon-dse[server]'"
        )
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-m", "evaluators.data.espeak"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=_environment(),
        )
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield from _converse(child.stdin, child.stdout, lines)
        except (EOFError, BrokenPipeError) as error:
            status = child.wait()
            complaints.seek(0)
            said = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise EvaluationError(
                f"speech synthesis ended early (exit status {status}): {said or 'no message'}"
            ) from error
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
            # The rest of an unread script would be flushed into the dead child's pipe.
            try:
                child.stdin.close()
            except BrokenPipeError:
                pass


def _environment() -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def _converse(stdin: IO[bytes], stdout: IO[bytes], lines: Sequence[Line]) -> Generator[Spoken]:
    stdin.write(json.dumps([asdict(line) for line in lines]).encode())
    stdin.close()
    for _ in lines:
        header = stdout.readline()
        if not header.endswith(b"\n"):
            raise EOFError
        head = json.loads(header)
        sound = stdout.read(2 * head["samples"])
        if len(sound) != 2 * head["samples"]:
            raise EOFError
        yield Spoken(
            samples=np.frombuffer(sound, dtype=np.int16),
            phones=tuple((int(start), str(name)) for start, name in head["phones"]),
        )


class _Event(ctypes.Structure):
    # espeak_EVENT of speak_lib.h; `name` is the member `string` of the union `id`.
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),
    ]


_RETRIEVAL, _PHONEME_EVENTS, _PHONEME, _UTF8 = 1, 1, 7, 1
_RATE, _PITCH = 1, 3
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class _Synthesiser:
    """The library, whose state is global: one a process."""

    def __init__(self) -> None:
        loader = import_module("espeakng_loader")
        self._library = ctypes.CDLL(str(loader.get_library_path()))
        self._sound = bytearray()
        self._phones: list[tuple[int, str]] = []
        data = str(loader.get_data_path()).encode()
        rate = self._library.espeak_Initialize(_RETRIEVAL, 0, data, _PHONEME_EVENTS)
        if rate != SAMPLE_RATE_HZ:
            raise RuntimeError(f"eSpeak NG must start at {SAMPLE_RATE_HZ} Hz, got {rate}")
        self._callback = _Callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, line: Line) -> tuple[bytes, list[tuple[int, str]]]:
        self._sound.clear()
        self._phones.clear()
        if self._library.espeak_SetVoiceByName(line.voice.encode()) != 0:
            raise RuntimeError(f"eSpeak NG has no voice {line.voice!r}")
        self._library.espeak_SetParameter(_RATE, line.rate, 0)
        self._library.espeak_SetParameter(_PITCH, line.pitch, 0)
        text = line.text.encode()
        failed = self._library.espeak_Synth(
            text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _UTF8, None, None
        )
        if failed or self._library.espeak_Synchronize():
            raise RuntimeError(f"eSpeak NG could not speak {line.text!r}")
        return bytes(self._sound), list(self._phones)

    def _receive(
        self,
        sound: "ctypes._Pointer[ctypes.c_short]",
        count: int,
        events: "ctypes._Pointer[_Event]",
    ) -> int:
        if sound and count > 0:
            self._sound += ctypes.string_at(sound, 2 * count)
        position = 0
        while events[position].type != 0:
            if events[position].type == _PHONEME:
                self._phones.append((events[position].sample, events[position].name.decode()))
            position += 1
        return 0


def _serve(source: IO[bytes], sink: IO[bytes]) -> None:
    lines = [Line(**line) for line in json.load(source)]
    synthesiser = _Synthesiser()
    for line in lines:
        sound, phones = synthesiser.say(line)
        head = {"samples": len(sound) // 2, "phones": phones}
        sink.write(json.dumps(head).encode() + b"\n" + sound)
        sink.flush()


if __name__ == "__main__":
    # Ctrl-C reaches the whole terminal group; the parent alone decides, and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _serve(sys.stdin.buffer, sys.stdout.buffer)
    except BrokenPipeError:
        os._exit(1)
