import re

from api.summaries import (
    beacon_summary,
    choice_summary,
    front_summary,
    hypervolume_summary,
    split_summary,
)
from tests.api.run_documents import beacon_document, run_document

DOCUMENT = run_document()
EMPTY = run_document(designs=0)


def test_the_front_is_told_from_end_to_end() -> None:
    told = front_summary(DOCUMENT)

    assert told.startswith(f"The front holds {len(DOCUMENT['front'])} designs out of 52 measured")
    assert "of 60 proposed: from error" in told
    assert "Baselines that break a constraint are drawn hollow." in told


def test_a_front_of_one_has_no_ends() -> None:
    document = DOCUMENT | {"front": DOCUMENT["front"][:1]}

    assert "holds 1 design out of" in front_summary(document)
    assert "from error" not in front_summary(document)


def test_what_the_frame_leaves_out_is_counted() -> None:
    document = run_document(designs=1)
    document["evaluations"][0] |= {"feasible": False}
    document["evaluations"][0]["metrics"]["error"] = 400.0
    document |= {"front": [], "baselines": run_document()["baselines"][1:]}

    assert front_summary(document).endswith("Outside the frame: 1 design breaking a constraint.")


def test_hypervolume_is_told_as_a_multiple_of_the_baselines() -> None:
    assert hypervolume_summary(DOCUMENT).endswith("1.12 times the 26 of the baselines together.")


def test_choices_are_told_by_their_extremes() -> None:
    told = choice_summary(DOCUMENT)

    assert told.startswith(f"Over {len(DOCUMENT['front'])} members, w_bits is lowest at ")


def test_words_are_told_by_their_shares() -> None:
    document = run_document()
    for i, item in enumerate(document["front"]):
        layers = list(item["design"]["w_bits"])
        last = "channel" if i == 0 else "tensor"
        item["design"] = {"w_granularity": dict.fromkeys(layers, "tensor") | {layers[-1]: last}}

    told = choice_summary(document)

    assert re.fullmatch(
        r"Over \d+ members, w_granularity is tensor in \d+ %, channel in \d+ % of the layers.",
        told,
    )


def test_numbers_with_a_word_among_them_are_told_by_their_shares() -> None:
    document = run_document()
    for i, item in enumerate(document["front"]):
        layers = list(item["design"]["w_bits"])
        item["design"] = {"psum_group": dict.fromkeys(layers, "all" if i else 2)}

    told = choice_summary(document)

    assert re.fullmatch(
        r"Over \d+ members, psum_group is all in \d+ %, 2 in \d+ % of the layers.", told
    )


def test_the_gap_to_unseen_data_is_told() -> None:
    assert "+1.50 on average" in split_summary(DOCUMENT)


def test_beacons_are_told_by_what_they_did_for_others() -> None:
    document = beacon_document()
    members = sum(item["origin"] != "base" for item in document["front"])

    assert beacon_summary(document) == (
        f"3 beacons (1 failed): 20 designs of the search, {members} of the front among them, have "
        "their error from retrained weights, 8.00 points below that on base weights on average."
    )


def test_beacons_that_served_nobody_are_told_too() -> None:
    document = beacon_document()
    document["beacons"] = document["beacons"][1:2]

    told = "1 beacon (1 failed); no design has its error from them."
    assert beacon_summary(document) == told
    assert beacon_summary(DOCUMENT) == "No design has become a beacon."


def test_an_empty_run_is_told_as_such() -> None:
    assert front_summary(EMPTY).startswith("The front is empty: none of 0 measured designs")
    assert hypervolume_summary(EMPTY) == "No generation has ended."
    assert choice_summary(EMPTY) == "The front is empty."
    assert split_summary(EMPTY) == "The front has not been measured on the test split."
