"""Page tokens: where a keyset page ended, opaque to clients."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import StrictInt, StrictStr, TypeAdapter, ValidationError

from api.errors import Code, FieldError, Refusal
from dse.design import content_hash

Position = tuple[int | str, ...]

_DATA: Final = TypeAdapter(tuple[StrictStr, list[StrictInt | Annotated[str, StrictStr]]])


def make_token(position: Position, filters: Mapping[str, object]) -> str:
    """Return the token of the page behind `position`, good for the same filters alone."""
    data = json.dumps([_digest(filters), list(position)], separators=(",", ":"))
    return base64.urlsafe_b64encode(data.encode()).decode().rstrip("=")


def read_token(
    token: str | None, filters: Mapping[str, object], kinds: tuple[type, ...]
) -> Position | None:
    """Return the position that a token stands for, None for no token.

    Args:
        kinds: the type of each part of a position.

    Raises:
        Refusal: it is no token of this list, or of other filters.
    """
    if token is None:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        digest, position = _DATA.validate_json(
            base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
        )
    except (binascii.Error, UnicodeError, ValidationError) as error:
        raise _refused("is no page_token of this list") from error
    if digest != _digest(filters):
        raise _refused("belongs to a list with other filters")
    if [type(part) for part in position] != list(kinds) or not all(map(_sane, position)):
        raise _refused("is no page_token of this list")
    return tuple(position)


def _digest(filters: Mapping[str, object]) -> str:
    return content_hash({name: str(value) for name, value in filters.items()})[:12]


def _sane(part: int | str) -> bool:
    if isinstance(part, int):
        return 0 <= part < 2**31
    return part.isascii() and part.isprintable() and len(part) <= 100


def _refused(what: str) -> Refusal:
    detail = f"page_token {what}; take it from next_page_token of the page before"
    wrong = FieldError(pointer="#query/page_token", detail=detail)
    return Refusal(Code.INVALID_REQUEST, detail, errors=(wrong,))
