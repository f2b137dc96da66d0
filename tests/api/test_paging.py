import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import Code, Refusal
from api.paging import make_token, read_token

FILTERS = {"list": "jobs", "state": None}


@given(st.integers(0, 2**31 - 1), st.text("0123456789abcdef", min_size=1, max_size=64))
def test_a_token_gives_back_its_position(number: int, text: str) -> None:
    token = make_token((number, text), FILTERS)

    assert read_token(token, FILTERS, (int, str)) == (number, text)
    assert token.replace("-", "").replace("_", "").isalnum()


def test_no_token_is_the_beginning() -> None:
    assert read_token(None, FILTERS, (int,)) is None


def test_a_token_holds_for_its_filters_alone() -> None:
    token = make_token((1,), FILTERS)

    with pytest.raises(Refusal, match="other filters"):
        read_token(token, {**FILTERS, "state": "READY"}, (int,))


@given(st.text(max_size=60))
def test_whatever_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_token(token, FILTERS, (int,))

    assert caught.value.code is Code.INVALID_REQUEST


@pytest.mark.parametrize("position", [[-1], [2**31], ["a"], [1, 2], [], [True], [1.5], [None]])
def test_a_forged_position_is_refused(position: list[object]) -> None:
    digest = json.loads(base64.urlsafe_b64decode(make_token((1,), FILTERS) + "=="))[0]
    token = base64.urlsafe_b64encode(json.dumps([digest, position]).encode()).decode()

    with pytest.raises(Refusal, match="no page_token of this list"):
        read_token(token, FILTERS, (int,))
