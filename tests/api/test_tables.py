import pytest

from api.tables import (
    baseline_table,
    choice_table,
    evaluation_table,
    front_table,
    hypervolume_table,
    metric_title,
    metric_value,
    number,
    split_table,
)
from tests.api.run_documents import run_document

DOCUMENT = run_document()


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("error", "error (%)"),
        ("test_frame_error", "test frame error (%)"),
        ("memory_mib", "memory (MiB)"),
        ("energy_uj", "energy (uJ)"),
        ("speedup", "speedup (x)"),
        ("voices_error", "voices error (%)"),
    ],
)
def test_headings_carry_units(name: str, title: str) -> None:
    assert metric_title(name) == title


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (3, "3"), (0.98439, "0.9844"), (5.0, "5"), (123456.7, "123,457"), ("w4", "w4")],
)
def test_numbers_have_four_digits(value: float | str | None, text: str) -> None:
    assert number(value) == text


def test_a_metric_is_said_with_its_unit() -> None:
    assert metric_value("test_error", 12.345) == "test error 12.35 %"
    assert metric_value("odd", 2) == "odd 2"


def test_the_front_is_listed_along_its_first_objective() -> None:
    table = front_table(DOCUMENT)

    errors = [row[table.columns.index("error (%)")] for row in table.rows]
    assert errors == sorted(item["metrics"]["error"] for item in DOCUMENT["front"])
    assert table.columns[3:6] == ("error (%)", "test error (%)", "speedup (x)")


def test_a_screened_design_has_no_error() -> None:
    table = evaluation_table(DOCUMENT)

    column = table.columns.index("error (%)")
    screened = [item["origin"] is None for item in DOCUMENT["evaluations"]]
    assert [row[column] is None for row in table.rows] == screened


def test_tables_have_a_row_for_all_that_figures_draw() -> None:
    front, baselines = len(DOCUMENT["front"]), len(DOCUMENT["baselines"])

    assert len(baseline_table(DOCUMENT).rows) == baselines
    assert len(choice_table(DOCUMENT).rows) == front
    assert len(choice_table(DOCUMENT).columns) == 1 + 16
    assert len(split_table(DOCUMENT).rows) == front + baselines
    assert hypervolume_table(DOCUMENT).rows[0] == (0, DOCUMENT["hypervolume"][0])


def test_an_empty_run_has_empty_tables() -> None:
    empty = run_document(designs=0)

    assert front_table(empty).rows == ()
    assert evaluation_table(empty).rows == ()
    assert choice_table(empty).rows == ()
