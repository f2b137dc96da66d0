import json
from typing import Any

import pytest

from api.documents import Document
from api.figures import (
    FIGURES,
    beacon_figure,
    choice_figure,
    front_figure,
    hypervolume_figure,
    split_figure,
)
from api.marks import CONFIG
from tests.api.run_documents import beacon_document, run_document, wide_front

HOSTILE = '<script>alert(1)</script> %{x} <a href="javascript:alert(2)">"b" & c</a>'
TWO = run_document()
THREE = run_document(objectives=("error", "speedup", "energy_uj"))
FOUR = run_document(objectives=("error", "speedup", "energy_uj", "memory_mib"))
BEACONS = beacon_document()
DOCUMENTS = {
    "two objectives": TWO,
    "beacons": BEACONS,
    "beacons and three objectives": beacon_document(objectives=("error", "speedup", "energy_uj")),
    "beacons and one objective": beacon_document(objectives=("error",)),
    "three objectives": THREE,
    "four objectives": FOUR,
    "one objective": run_document(objectives=("error",)),
    "nothing proposed": run_document(designs=0),
    "one design": run_document(designs=1),
    "200 members": wide_front(200),
    "no baselines": TWO | {"baselines": []},
}

Json = dict[str, Any]  # a figure as JSON


def drawn(figure: Any) -> Json:  # plotly has no types
    result: Json = json.loads(figure.to_json())
    return result


def trace(figure: Json, name: str) -> Json:
    return next(found for found in figure["data"] if found["name"] == name)


@pytest.mark.parametrize("document", DOCUMENTS.values(), ids=DOCUMENTS.keys())
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_titles_and_no_webgl(name: str, document: Document) -> None:
    figure = drawn(FIGURES[name](document))

    layout = figure["layout"]
    assert layout["title"]["text"].endswith(": a run")
    assert layout["xaxis"]["title"]["text"]
    assert layout["yaxis"]["title"]["text"]
    assert {found["type"] for found in figure["data"]} <= {"scatter", "heatmap"}


def test_axes_carry_the_units_of_the_catalogue() -> None:
    layout = drawn(front_figure(TWO))["layout"]

    assert layout["xaxis"]["title"]["text"] == "error (%)"
    assert layout["yaxis"]["title"]["text"] == "speedup (x)"


def test_every_measured_design_is_drawn_once() -> None:
    figure = drawn(front_figure(TWO))

    names = ("other designs", "breaks a constraint", "front")
    count = {name: len(trace(figure, name)["x"]) for name in names}
    measured = [item for item in TWO["evaluations"] if item["origin"]]
    assert sum(count.values()) == len(measured)
    assert count["front"] == len(TWO["front"])
    assert count["breaks a constraint"] == sum(not item["feasible"] for item in measured)


def test_marks_tell_whose_weights_an_error_comes_from() -> None:
    figure = drawn(front_figure(BEACONS))

    front = sorted(BEACONS["front"], key=lambda item: item["metrics"]["error"])
    for origin in ("base", "beacon 1", "beacon 3"):
        found = trace(figure, f"front, {origin}")
        mine = [item["metrics"]["error"] for item in front if item["origin"] == origin]
        assert found["x"] == mine
        assert mine
    symbols = {found["marker"].get("symbol") for found in figure["data"][-3:]}
    assert symbols == {None, "star", "pentagon"}
    assert trace(figure, "front")["mode"] == "lines"
    assert trace(figure, "front")["x"] == [item["metrics"]["error"] for item in front]
    others = trace(figure, "other designs, on beacons")
    assert others["marker"]["symbol"] == "star-open"


def test_the_pointer_sees_both_errors_and_the_distance() -> None:
    told = trace(drawn(front_figure(BEACONS)), "front, beacon 1")["hovertext"][0]

    errors = [item for item in BEACONS["front"] if item["origin"] == "beacon 1"]
    first = min(errors, key=lambda item: item["metrics"]["error"])
    assert f"on base weights: error {first['base_error']:.4g} %" in told
    assert f"on beacon 1, distance 2.5: error {first['metrics']['error']:.4g} %" in told


def test_parts_of_a_front_share_one_scale_of_colours() -> None:
    figure = drawn(front_figure(DOCUMENTS["beacons and three objectives"]))

    parts = [found for found in figure["data"] if found["name"].startswith("front, ")]
    assert len(parts) == 3
    assert len({(part["marker"]["cmin"], part["marker"]["cmax"]) for part in parts}) == 1
    assert [part["marker"]["showscale"] for part in parts].count(True) == 1


def test_curves_of_beacons_mark_the_step_that_was_kept() -> None:
    figure = drawn(beacon_figure(BEACONS))

    assert [found["name"] for found in figure["data"]] == ["beacon 1", "beacon 3"]
    assert figure["data"][0]["x"] == [0, 50, 100]
    assert figure["data"][0]["y"] == [30.0, 22.0, 22.5]
    assert figure["data"][0]["marker"]["size"] == [5, 11, 5]


def test_marks_differ_by_symbol_and_hollow_ones_break_a_constraint() -> None:
    figure = drawn(front_figure(TWO))

    assert trace(figure, "uniform")["marker"]["symbol"] == ["diamond-open", "diamond", "diamond"]
    assert trace(figure, "greedy")["marker"]["symbol"] == ["triangle-up"] * 3
    assert trace(figure, "other designs")["marker"]["symbol"] == "circle-open"
    assert trace(figure, "breaks a constraint")["marker"]["symbol"] == "x-thin-open"


@pytest.mark.parametrize(
    ("objectives", "shape"), [(("error", "speedup"), "hv"), (("speedup", "error"), "vh")]
)
def test_the_step_never_promises_more_than_the_front_attains(
    objectives: tuple[str, ...], shape: str
) -> None:
    front = trace(drawn(front_figure(run_document(objectives=objectives))), "front")

    assert front["line"]["shape"] == shape
    assert front["x"] == sorted(front["x"])


def test_the_third_objective_is_colour() -> None:
    front = trace(drawn(front_figure(THREE)), "front")

    by_error = sorted(THREE["front"], key=lambda item: item["metrics"]["error"])
    assert front["marker"]["color"] == [item["metrics"]["energy_uj"] for item in by_error]
    assert front["marker"]["colorbar"]["title"]["text"] == "energy (uJ)"
    assert front["mode"] == "markers"


def test_the_frame_holds_all_that_is_feasible_and_no_outlier() -> None:
    document = run_document()
    outlier = next(item for item in document["evaluations"] if not item["feasible"])
    outlier["metrics"]["error"] = 400.0

    low, high = drawn(front_figure(document))["layout"]["xaxis"]["range"]

    feasible = [item for item in document["evaluations"] if item["feasible"]]
    assert all(low < item["metrics"]["error"] < high for item in feasible)
    assert high < 400


def test_a_single_objective_is_drawn_over_generations() -> None:
    figure = drawn(front_figure(run_document(objectives=("error",))))

    assert figure["layout"]["xaxis"]["title"]["text"] == "generation"
    assert figure["layout"]["yaxis"]["title"]["text"] == "error (%)"


def test_hypervolume_is_held_against_the_baselines() -> None:
    figure = drawn(hypervolume_figure(TWO))

    assert trace(figure, "front")["y"] == TWO["hypervolume"]
    assert trace(figure, "baselines together")["y"] == [26.0, 26.0]


def test_unknown_baselines_draw_no_level() -> None:
    document = TWO | {"job": TWO["job"] | {"baseline_hypervolume": 0.0}}

    assert [found["name"] for found in drawn(hypervolume_figure(document))["data"]] == ["front"]


def test_choices_show_a_row_for_every_knob_and_layer() -> None:
    figure = drawn(choice_figure(TWO))

    (heatmap,) = figure["data"]
    labels = figure["layout"]["yaxis"]["ticktext"]
    assert labels[:2] == ["w_bits L0", "w_bits P1"]
    assert labels[8] == "a_bits L0"
    assert len(heatmap["text"]) == len(labels) == 16
    best = min(TWO["front"], key=lambda item: item["metrics"]["error"])
    assert [row[0] for row in heatmap["text"][:8]] == list(best["design"]["w_bits"].values())


def test_numbers_come_before_words_in_the_scale_of_choices() -> None:
    document = run_document(designs=4)
    for item in document["front"]:
        words = ("tensor", "channel", *["tensor"] * 6)
        item["design"]["w_granularity"] = dict(zip(item["design"]["w_bits"], words, strict=True))

    (heatmap,) = drawn(choice_figure(document))["data"]

    *numbers, first, second = heatmap["colorbar"]["ticktext"]
    assert numbers == sorted(numbers, key=int)
    assert (first, second) == ("channel", "tensor")


def test_values_are_printed_only_while_they_can_be_read() -> None:
    (few,) = drawn(choice_figure(TWO))["data"]
    (many,) = drawn(choice_figure(wide_front(200)))["data"]

    assert few["texttemplate"] == "%{text}"
    assert "texttemplate" not in many
    assert len(many["z"][0]) == 200


def test_designs_without_a_test_error_are_left_out_of_the_splits() -> None:
    document = run_document()
    del document["front"][0]["metrics"]["test_error"]

    figure = drawn(split_figure(document))

    assert len(trace(figure, "front")["x"]) == len(document["front"]) - 1


@pytest.mark.parametrize("name", FIGURES)
def test_what_a_user_named_is_escaped(name: str) -> None:
    document = beacon_document()
    document["spec"]["name"] = HOSTILE
    for item in (*document["front"], *document["baselines"], *document["evaluations"]):
        item["label"] = HOSTILE
        item["design"] = {"w_bits": {HOSTILE: 4}}

    text = FIGURES[name](document).to_json()

    assert "<script" not in text
    assert "<a " not in text
    assert "hovertemplate" not in text


def test_pages_are_told_not_to_send_charts_anywhere() -> None:
    assert CONFIG["showSendToCloud"] is False
    assert CONFIG["plotlyServerURL"] == ""
