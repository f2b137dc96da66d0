import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.client.messages import Message, read_messages

STREAM = (
    "\ufeffid: 1\r\nevent: a\r\ndata: é\u2028\x85\x0b\r\n\r\n"
    ": keep-alive\n\n"
    "data: two\rdata:lines\r\r"
    "id: 3\ndata\n\n"
    "retry: 10\nunknown: x\n\n"
    "data: cut off"
).encode()
MESSAGES = [
    Message("é\u2028\x85\x0b", "a", "1"),
    None,
    Message("two\nlines", "message", "1"),
    Message("", "message", "3"),
]


def _read(*chunks: bytes) -> list[Message | None]:
    return list(read_messages(chunks))


def test_each_field_and_line_end_is_understood() -> None:
    assert _read(STREAM) == MESSAGES


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM)), max_size=12))
def test_messages_do_not_depend_on_where_the_stream_is_cut(cuts: list[int]) -> None:
    ends = [0, *sorted(cuts), len(STREAM)]

    chunks = [STREAM[a:b] for a, b in zip(ends, ends[1:], strict=False)]

    assert _read(*chunks) == MESSAGES


def test_bytes_one_by_one_give_the_same_messages() -> None:
    assert _read(*(STREAM[i : i + 1] for i in range(len(STREAM)))) == MESSAGES


def test_message_is_given_out_before_the_next_chunk_is_asked_for() -> None:
    def chunks() -> object:
        yield b"data: 1\n\n"
        raise AssertionError("asked too early")

    assert next(read_messages(chunks())) == Message("1")  # type: ignore[arg-type]


def test_only_one_blank_is_taken_from_a_value() -> None:
    assert _read(b"data:  x\n\n") == [Message(" x")]


def test_message_without_data_is_none_and_its_kind_is_forgotten() -> None:
    assert _read(b"event: a\n\ndata: x\n\n") == [Message("x")]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n"])
def test_last_message_counts_when_its_blank_line_is_the_streams_end(end: bytes) -> None:
    assert _read(b"data: x" + end) == [Message("x")]


def test_identity_with_a_nul_is_ignored() -> None:
    assert _read(b"id: 1\nid: 2\0\ndata: x\n\n") == [Message("x", "message", "1")]
