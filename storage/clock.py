"""The clock that leases run by: the server's on Postgres, the host's on SQLite."""

from datetime import datetime
from typing import Any

from sqlalchemy import Float
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import BindParameter, bindparam
from sqlalchemy.sql.functions import GenericFunction

from storage.tables import UtcDateTime


class time_in(GenericFunction[datetime]):
    """SQL: the time it will be in so many seconds, 0 for now."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float | BindParameter[float]) -> None:
        given = bindparam(None, seconds, Float) if isinstance(seconds, int | float) else seconds
        super().__init__(given)


@compiles(time_in, "postgresql")
def _postgres(element: time_in, compiler: SQLCompiler, **options: Any) -> str:
    # Any: options of the compiler, handed on. now() would be the time the transaction began.
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(time_in, "sqlite")
def _sqlite(element: time_in, compiler: SQLCompiler, **options: Any) -> str:
    # In the form in which times are stored: six digits behind the point.
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', {seconds} || ' seconds') || '000')"
