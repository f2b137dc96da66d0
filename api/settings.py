"""Settings by environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dse.errors import SpecError
from evaluators.registry import Places

DOCUMENTED = {
    "DSE_HOME": "folder of caches and of the default database; default ~/.beacon-dse",
    "DSE_DATABASE_URL": "SQLAlchemy URL; default an SQLite file in DSE_HOME",
    "DSE_TIMIT": "folder of the TIMIT corpus, for `workload: {name: sru-phones, "
    "params: {corpus: timit}}`",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where this installation keeps things.

    Attributes:
        home: DSE_HOME, absolute.
        database_url: SQLAlchemy URL.
        folders: the user's data sets by name.
    """

    home: Path
    database_url: str
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def places(self) -> Places:
        return Places(home=self.home, folders=self.folders)


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read settings from the environment; DSE_HOME is made if it does not exist."""
    given = os.environ if environment is None else environment
    home = Path(given.get("DSE_HOME") or Path.home() / ".beacon-dse").expanduser().absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecError(f"DSE_HOME must be a folder, got {home}: {error.strerror}") from error
    url = given.get("DSE_DATABASE_URL") or f"sqlite:///{home / 'dse.db'}"
    timit = given.get("DSE_TIMIT")
    folders = {"timit": Path(timit).expanduser()} if timit else {}
    return Settings(home=home, database_url=url, folders=folders)
