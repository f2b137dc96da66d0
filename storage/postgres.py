"""Postgres: one server for workers on many hosts."""

import json

from psycopg import Error, OperationalError
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, ExceptionContext

from storage.refusals import refusal

DRIVERS = ("postgresql", "postgresql+psycopg")
READING = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Execution options of a connection that only reads."""

_STATEMENT_S = 60
# A driver that is stopped amid a transaction would hold its job's row, and so every takeover.
_IDLE_S = 30
# A server that vanished without a word is noticed after this time.
_SILENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Connections here cost the server a process each: few stay open, bursts of requests get theirs.
_POOL = {"pool_size": 5, "max_overflow": 45, "pool_pre_ping": True}
# Classes 08, 53, 57: connection, resources, operator; then serialization, deadlock, lock, idle.
_TRANSIENT = ("08", "53", "57", "40001", "40P01", "55P03", "25P03")
_SCHEMA_LOCK = 0x64736500  # any number, the same in every release


def open_engine(url: URL, *, lock_timeout_s: float) -> Engine:
    """Open a Postgres database; see `storage.engine.make_engine`."""
    encoder = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
    settings = {
        "timezone": "UTC",
        "lock_timeout": f"{round(lock_timeout_s * 1000)}ms",
        "statement_timeout": f"{_STATEMENT_S}s",
        "idle_in_transaction_session_timeout": f"{_IDLE_S}s",
    }
    options = [f"-c {name}={value}" for name, value in settings.items()]
    options.append(str(url.query.get("options", "")))  # the user's last: they win
    silence = {name: value for name, value in _SILENCE.items() if name not in url.query}
    engine = create_engine(
        url.set(drivername="postgresql+psycopg").difference_update_query(["options"]),
        json_serializer=encoder.encode,
        connect_args={**silence, "options": " ".join(options).strip()},
        **_POOL,
    )

    def translate(context: ExceptionContext) -> BaseException | None:
        error = context.original_exception
        # A pooled connection that is found dead gets replaced, unless its error is.
        if context.is_pre_ping or not isinstance(error, Error):
            return None
        return refusal(url, error, transient=context.is_disconnect or _passes(error))

    event.listen(engine, "handle_error", translate, retval=True)
    return engine


def _passes(error: Error) -> bool:
    if error.sqlstate is None:  # the driver's own: no connection came about, or it broke
        return isinstance(error, OperationalError)
    return error.sqlstate.startswith(_TRANSIENT)


def lock_schema(connection: Connection) -> None:
    """Let one transaction at a time change the schema, however long it takes."""
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _SCHEMA_LOCK})
