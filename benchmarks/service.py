"""`dse serve` as a process of its own, for whatever is done to it."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, final

import psutil

from dse.client import Client, ClientError

PATIENCE_S: Final = 300.0
"""Seconds that a service may take for anything; on a loaded machine a start alone takes a few."""

_MARK: Final = "DSE_FAULTS_MARK"


@final
class Service:
    """A service from `with` on; at the end it is asked to stop, after an error it is killed.

    Args:
        environment: of the process, with DSE_HOME.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.home = Path(environment["DSE_HOME"])
        self._mark = uuid.uuid4().hex
        self._environment = {**environment, _MARK: self._mark}
        self._log = self.home / f"serve-{self._mark}.log"
        # Bound all along, so that no restart finds the port taken; only the server listens.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self._port = int(self._reserved.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Service":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.stop()
        finally:
            self.kill()
            self._reserved.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server itself."""
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        """Start the server; one that was killed may be started again."""
        command = [sys.executable, "-m", "api.cli", "serve", "--port", str(self._port)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment, stderr=log, stdout=log
            )

    def kill(self) -> None:
        """Kill the server, unless it has ended, and wait for it."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask the server to end, and wait until it has.

        Raises:
            subprocess.TimeoutExpired: it does not.
        """
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)

    def wait_until_ready(self) -> None:
        with Client(self.url) as client:
            self.insist(client.workers)

    def insist(self, action: Callable[[], Any]) -> Any:  # what the action returns
        """Do it again and again while the service refuses.

        Raises:
            ClientError: what it refuses with after `PATIENCE_S`.
            RuntimeError: the server has ended, though nobody killed it.
        """
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return action()
            except ClientError:
                code = self.process.poll()
                if code is not None:
                    raise RuntimeError(f"the server ended with {code}:\n{self.said()}") from None
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def said(self) -> str:
        """Return the end of the server's log."""
        return self._log.read_text(errors="replace")[-4000:]

    def survivors(self) -> int:
        """Count the processes that the service has left behind, however they came about."""
        count = 0
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                count += process.environ().get(_MARK) == self._mark
        return count

    def members(self) -> dict[str, list[psutil.Process]]:
        """Return the processes of the service by what they are."""
        found: dict[str, list[psutil.Process]] = {"server": [], "worker": [], "evaluation": []}
        with suppress(psutil.NoSuchProcess):
            server = psutil.Process(self.process.pid)
            found["server"].append(server)
            found["worker"] += server.children()
        for worker in found["worker"]:
            with suppress(psutil.NoSuchProcess):
                found["evaluation"] += [c for c in worker.children() if not _is_tracker(c)]
        return found


def _is_tracker(process: psutil.Process) -> bool:
    try:
        return any("resource_tracker" in word for word in process.cmdline())
    except psutil.Error:  # it has just ended
        return True


def environment(home: Path, *, database_url: str = "") -> dict[str, str]:
    """Return this process's environment with another home and database."""
    return {**os.environ, "DSE_HOME": str(home), "DSE_DATABASE_URL": database_url}
