"""How a database's refusals are told: which database, why, and never a password."""

import re

from sqlalchemy.engine import URL

from dse.errors import StoreError, StoreUnavailableError

_IN_AUTHORITY = re.compile(r"(://[^:/@\s]*:)[^\s]*@")
_IN_QUERY = re.compile(r"(?i)(\bpass(?:word|file|phrase)?=)[^&\s]*")


def without_password(text: str) -> str:
    """Return `text` with the passwords of any URL in it replaced by ***."""
    return _IN_QUERY.sub(r"\1***", _IN_AUTHORITY.sub(r"\1***@", text))


def described(url: URL) -> str:
    """Name a database: its file, or its name and host."""
    if url.drivername.startswith("sqlite"):
        return f"the database {url.database}"
    host = url.host or url.query.get("host") or "the local socket"
    port = f":{url.port}" if url.port else ""
    return f"the database {url.database or url.username} at {host}{port}"


def refusal(url: URL, error: BaseException, *, transient: bool) -> StoreError:
    """Return the error of a database that refuses; `transient`: the same may work later."""
    message = " ".join(without_password(str(error)).split())
    if url.password:
        message = message.replace(str(url.password), "***")
    kind = StoreUnavailableError if transient else StoreError
    return kind(f"{described(url)} refuses: {message}")
