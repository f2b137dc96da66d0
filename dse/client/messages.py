"""Server-sent events as bytes on the wire (WHATWG HTML, section 9.2.6)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched message; `id` is the last one that the stream has named."""

    data: str
    kind: str = "message"
    id: str = ""


def read_messages(chunks: Iterable[bytes]) -> Iterator[Message | None]:
    """Read messages from a stream however it is cut; None stands for a comment (a keep-alive).

    What comes after the last blank line is not a message: the connection broke within it.
    """
    data: list[str] = []
    kind = identity = ""
    for line in _lines(chunks):
        if not line:
            if data:
                yield Message("\n".join(data), kind or "message", identity)
            data, kind = [], ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            yield None
        elif field == "data":
            data.append(value)
        elif field == "event":
            kind = value
        elif field == "id" and "\0" not in value:
            identity = value


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    # not str.splitlines: JSON may hold characters that it takes for line ends
    rest, opened = b"", False
    for chunk in chunks:
        rest += chunk
        if not opened and len(rest) >= len(_BYTE_ORDER_MARK):
            rest, opened = rest.removeprefix(_BYTE_ORDER_MARK), True
        # a carriage return at the end may be half of a line end
        held = b"\r" if rest.endswith(b"\r") else b""
        *whole, rest = _LINE_END.split(rest.removesuffix(held))
        rest += held
        yield from (line.decode(errors="replace") for line in whole)
    if rest.endswith(b"\r"):
        yield rest[:-1].decode(errors="replace")
