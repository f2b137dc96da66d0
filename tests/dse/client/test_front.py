import csv
import sys
from pathlib import Path

import pandas
import pytest

from dse.client import Evaluation, Front
from dse.errors import DseError
from tests.dse.client.fakes import evaluation_data

FRONT = Front(
    [
        Evaluation.model_validate(evaluation_data(1)),
        Evaluation.model_validate(evaluation_data(2, metrics={"error": 1.5, "speedup": 2.0})),
    ],
    objectives=["error", "speedup"],
)
COLUMNS = (
    *("hash", "generation", "origin", "error", "speedup", "memory_mib"),
    *("w_bits@L0", "w_bits@FC", "a_bits@L0", "a_bits@FC"),
)


def test_columns_are_objectives_then_other_metrics_then_choices() -> None:
    assert FRONT.columns == COLUMNS


def test_members_stand_by_ascending_objectives() -> None:
    assert [e.metrics["error"] for e in FRONT] == [1.5, 21.0]


def test_csv_reads_back_as_the_same_table(tmp_path: Path) -> None:
    text = FRONT.to_csv(tmp_path / "front.csv")

    with (tmp_path / "front.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert (tmp_path / "front.csv").read_text() == text
    assert [float(row["error"]) for row in rows] == [1.5, 21.0]
    assert rows[0]["memory_mib"] == ""
    assert rows[0]["w_bits@FC"] == "8"


def test_data_frame_holds_the_same_table() -> None:
    frame = FRONT.to_pandas()

    assert tuple(frame.columns) == COLUMNS
    assert frame["speedup"].tolist() == [2.0, 11.5]
    assert frame["w_bits@L0"].tolist() == [4, 4]
    assert frame["memory_mib"].isna().tolist() == [True, False]


def test_words_stand_beside_numbers() -> None:
    design = {"w_bits": {"FC": 8}, "w_granularity": {"FC": "channel"}}
    front = Front([Evaluation.model_validate(evaluation_data(1, design=design))], objectives=[])

    cells = dict(zip(front.columns, front.rows()[0], strict=True))

    assert (cells["w_bits@FC"], cells["w_granularity@FC"]) == (8, "channel")


def test_empty_front_is_an_empty_table() -> None:
    empty = Front([], objectives=["error", "speedup"])

    assert empty.to_csv() == "hash,generation,origin,error,speedup\n"
    assert isinstance(empty.to_pandas(), pandas.DataFrame)
    assert len(empty.to_pandas()) == 0


def test_missing_pandas_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(DseError, match="pip install pandas"):
        FRONT.to_pandas()


def test_front_is_a_sequence() -> None:
    assert FRONT[0].metrics["error"] == 1.5
    assert [e.position for e in FRONT[:1]] == [2]
    assert FRONT[:1].objectives == FRONT.objectives
    assert repr(FRONT) == "<Front of 2 designs, objectives error, speedup>"


def test_what_both_weights_gave_stands_in_the_table_where_a_beacon_was_used() -> None:
    reading = {"number": 3, "distance": 2.5, "error": 21.0}
    told = {"origin": "beacon 3", "base_error": 30.0, "beacon": reading}
    front = Front(
        [
            Evaluation.model_validate(evaluation_data(1, **told)),
            Evaluation.model_validate(evaluation_data(2, base_error=22.0, beacon=None)),
        ],
        objectives=["error", "speedup"],
    )

    assert front.columns[2:7] == (
        *("origin", "base_error", "beacon", "beacon_distance", "beacon_error"),
    )
    assert [row[2:7] for row in front.rows()] == [
        ("beacon 3", 30.0, 3, 2.5, 21.0),
        ("base", 22.0, None, None, None),
    ]
    assert front[0].beacon is not None
    assert (front[0].beacon.number, front[0].beacon.distance) == (3, 2.5)
