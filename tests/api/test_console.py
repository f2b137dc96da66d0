import io
from collections.abc import Mapping

import pytest
from rich.console import Console

from api import console
from api.console import Bars, figure, front_table, heading
from api.tables import widths

ITEM = {
    "hash": "0123456789abcdef",
    "metrics": {"error": 12.3456, "speedup": 1234.5},
    "design": {"w_bits": {"L0": 2, "FC": 16}, "a_bits": {"L0": 4, "FC": 8}},
}


def _printed(title: str, *items: Mapping[str, object]) -> str:
    told = io.StringIO()
    table = front_table(title, items, ("error", "test_error", "speedup"))
    Console(file=told, width=120).print(table)
    return told.getvalue()


def test_table_names_units_figures_and_widths() -> None:
    told = _printed("front", ITEM)

    for text in ("front", "error [%]", "speedup [x]", "0123456789", "12.35", "2,16 / 4,8"):
        assert text in told


def test_label_stands_in_for_the_hash_and_is_never_markup() -> None:
    told = _printed("baselines", {**ITEM, "label": "[bold]w2[/nope]"})

    assert "[bold]w2[/nope]" in told
    assert "0123456789" not in told


def test_heading_of_the_test_split_has_the_unit_of_the_metric() -> None:
    assert heading("test_error") == r"test_error \[%]"


@pytest.mark.parametrize(
    ("value", "told"), [(None, "-"), (1234567, "1,234,567"), (0.123456, "0.1235"), (1e9, "1e+09")]
)
def test_counts_are_whole_and_measures_have_four_digits(value: float | None, told: str) -> None:
    assert figure(value) == told


def test_widths_keep_the_order_of_knobs_and_layers() -> None:
    assert widths(ITEM) == "2,16 / 4,8"


def test_other_numbers_are_told_by_name_unless_they_are_neutral() -> None:
    design = {
        "w_bits": {"L0": 4, "FC": 8},
        "psum_bits": {"L0": 6, "FC": 32},
        "psum_group": {"L0": 1, "FC": 1},
    }

    assert widths({"design": design}) == "4,8 / psum_bits 6,32"


def test_words_are_told_with_their_layers_unless_they_are_neutral() -> None:
    design = {
        "w_bits": {"L0": 2, "FC": 16},
        "act_quantizer": {"L0": "absmax", "FC": "absmax"},
        "w_granularity": {"L0": "channel", "FC": "tensor"},
        "a_symmetry": {"L0": "symmetric", "FC": "symmetric"},
    }

    assert widths({"design": design}) == "2,16 / absmax / channel: L0"


def test_off_a_terminal_a_label_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=told, width=80))

    with Bars() as bars:
        for done in range(4):
            bars("[training]", done, 3)
        bars("searching", 0, 5)

    assert told.getvalue() == "[training]: 3 to do\nsearching: 5 to do\n"


def test_bars_end_well_when_an_error_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=told, width=80, force_terminal=True))

    def broken() -> None:
        with Bars() as bars:
            bars("training", 1, 3)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        broken()

    assert told.getvalue().rindex("\x1b[?25h") > told.getvalue().rindex("\x1b[?25l")
