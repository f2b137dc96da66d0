import ast
from pathlib import Path

import dse
from storage.events import EventKind


def test_every_event_that_a_search_notes_is_a_known_kind() -> None:
    assert dse.__file__ is not None
    kinds = [
        call.args[0].value
        for file in Path(dse.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "note"
        and isinstance(call.args[0], ast.Constant)
    ]

    assert kinds
    assert set(kinds) <= set(EventKind)


def test_every_kind_is_documented() -> None:
    assert EventKind.__doc__ is not None
    assert all(kind.name in EventKind.__doc__ for kind in EventKind)
