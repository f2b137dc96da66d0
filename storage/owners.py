"""Processes that may hold leases, and whether they still run."""

import os
import socket
import sys
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process that drives jobs.

    Attributes:
        id: fresh for every process; a process id alone comes back.
        boot: the run of the system and the namespace that its process id belongs to, as
            "BOOT/NAMESPACE"; "" where that is not told.
        started: start of the process: on Linux seconds since the boot, elsewhere since the epoch.
    """

    id: str
    host: str
    pid: int
    boot: str
    started: float

    @staticmethod
    def current() -> "Owner":
        """Describe the calling process."""
        return Owner.of(os.getpid())

    @staticmethod
    def of(pid: int) -> "Owner":
        """Describe a process of this host.

        Raises:
            ProcessLookupError: it does not exist.
        """
        started = _start(pid)
        if started is None:
            raise ProcessLookupError(f"no process {pid}")
        host = socket.gethostname()
        return Owner(id=uuid.uuid4().hex, host=host, pid=pid, boot=_boot(), started=started)


def is_near(*, host: str, boot: str) -> bool:
    """Tell whether a process id of that host and boot can be looked up here."""
    return boot == _boot() and (boot != "" or host == socket.gethostname())


def has_rebooted(*, host: str, boot: str) -> bool:
    """Tell whether this is the host of that name after another start of its system."""
    return host == socket.gethostname() and boot.split("/")[0] != _boot().split("/")[0]


def has_ended(*, pid: int, started: float) -> bool:
    """Tell whether a near process has ended; one that nobody has waited for has, too."""
    return _start(pid) != started


@cache
def _boot() -> str:
    if sys.platform != "linux":
        return ""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot}/{os.readlink('/proc/self/ns/pid')}"


def _start(pid: int) -> float | None:
    if sys.platform != "linux":
        return _start_by_clock(pid)
    # By the clock, a start moves when somebody sets the clock, and every process seems to be
    # another; the kernel's count of ticks since the boot does not.
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name before the last parenthesis may contain anything; state is field 3, start 22.
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _start_by_clock(pid: int) -> float | None:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return process.create_time()
    except psutil.NoSuchProcess:
        return None
