from collections.abc import Callable

import pytest

from api.documents import Document
from api.tables import (
    Table,
    baseline_table,
    beacon_table,
    choice_table,
    curve_table,
    evaluation_table,
    front_table,
    hypervolume_table,
    metric_title,
    metric_value,
    number,
    split_table,
)
from tests.api.run_documents import beacon_document, run_document

DOCUMENT = run_document()
BEACONS = beacon_document()


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


@pytest.mark.parametrize("table", [front_table, evaluation_table])
def test_errors_on_both_weights_are_listed_where_there_are_beacons(
    table: Callable[[Document], Table],
) -> None:
    heads = ("weights", "base error (%)", "beacon", "distance", "error on beacon (%)")

    with_beacons, without = table(BEACONS), table(DOCUMENT)

    start = with_beacons.columns.index("weights")
    assert with_beacons.columns[start : start + 5] == heads
    assert not set(heads) & set(without.columns)
    rows = [row[start : start + 5] for row in with_beacons.rows]
    assert {row[0] for row in rows} >= {"base", "beacon 1", "beacon 3"}
    for origin, base, *reading in rows:
        if origin in (None, "base"):
            assert reading == [None, None, None]
        else:
            assert origin == f"beacon {reading[0]}"
            assert reading[1:] == [2.5, pytest.approx(float(base or 0) - 8)]


def test_beacons_are_listed_with_what_they_did() -> None:
    table = beacon_table(BEACONS)

    first, second, _ = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (first["state"], first["error before (%)"], first["error after (%)"]) == (
        "ready",
        30.0,
        22.0,
    )
    assert (first["designs served"], first["mean gain (points)"]) == (10, 8.0)
    assert first["values by layer"].count(",") == 14  # type: ignore[union-attr]
    assert second["state"] == "failed"
    assert second["reason"] == "FAILED: loss is nan at step 3"
    assert curve_table(BEACONS).rows[1] == (1, 50, 1.5, 22.0)
    assert beacon_table(DOCUMENT).rows == curve_table(DOCUMENT).rows == ()
