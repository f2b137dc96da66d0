"""Settings by environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from dse.errors import SpecError
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
}
_DATA = {"timit": "DSE_TIMIT", "fsdd": "DSE_FSDD"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where this installation keeps things.

    Attributes:
        home: DSE_HOME, absolute.
        database_url: SQLAlchemy URL.
        lease_s: how long a driver may fall silent before its job is another's.
        folders: the user's data sets by name.
    """

    home: Path
    database_url: str
    lease_s: float = 60.0
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def places(self) -> Places:
        return Places(home=self.home, folders=self.folders)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read settings from the environment; DSE_HOME is made if it does not exist."""
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
    return Settings(home=home, database_url=url, lease_s=lease_s, folders=folders)


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
