"""Texts from anywhere, made fit for a database."""


def storable(text: str) -> str:
    """Return `text` with ? for what Postgres or UTF-8 cannot hold: NUL and lone surrogates."""
    return text.replace("\0", "?").encode("utf-8", "replace").decode("utf-8")
