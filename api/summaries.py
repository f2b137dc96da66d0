"""One sentence for each figure, for those who do not see it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from api.documents import Document, Json
from api.marks import axes, drawable, inside, is_beacon
from api.tables import metric_value, number, sorted_front
from dse.knobs import KNOBS
from dse.metrics import TEST_PREFIX


def front_summary(document: Document) -> str:
    """Say how large the front is, where it ends and what the frame leaves out."""
    front = sorted_front(document)
    proposed = document["evaluations"]
    measured = sum(item["origin"] is not None for item in proposed)
    told = f"{_count(measured, 'measured design')} of {len(proposed)} proposed"
    if not front:
        return f"The front is empty: none of {told} holds every constraint.{_left_out(document)}"
    ends = _point(document, front[0])
    if len(front) > 1:
        ends = f"from {ends} to {_point(document, front[-1])}"
    size = _count(len(front), "design")
    return f"The front holds {size} out of {told}: {ends}.{_left_out(document)}"


def hypervolume_summary(document: Document) -> str:
    """Say where the hypervolume started and ended, and how it stands to the baselines'."""
    values = document["hypervolume"]
    if not values:
        return "No generation has ended."
    last = values[-1]
    told = (
        f"The front's hypervolume went from {number(values[0])} to {number(last)} in "
        f"{_count(len(values), 'generation')}"
    )
    level = document["job"].get("baseline_hypervolume")
    if not level:
        return f"{told}."
    return f"{told}, {last / level:.2f} times the {number(level)} of the baselines together."


def choice_summary(document: Document) -> str:
    """Say what the front's members have in common."""
    front = sorted_front(document)
    if not front:
        return "The front is empty."
    told = []
    for knob in front[0]["design"]:
        chosen = [item["design"][knob] for item in front]
        numeric = knob in KNOBS and KNOBS[knob].numeric
        told.append(_means(knob, chosen) if numeric else _words(knob, chosen))
    return f"Over {_count(len(front), 'member')}, {'; '.join(told)}."


def _means(knob: str, chosen: Sequence[Mapping[str, int]]) -> str:
    every = {layer: sum(values[layer] for values in chosen) / len(chosen) for layer in chosen[0]}
    low, high = min(every, key=every.__getitem__), max(every, key=every.__getitem__)
    return (
        f"{knob} is lowest at {low} ({number(every[low])} on average) "
        f"and highest at {high} ({number(every[high])})"
    )


def _words(knob: str, chosen: Sequence[Mapping[str, str]]) -> str:
    counts = Counter(value for values in chosen for value in values.values())
    shares = (f"{word} in {100 * n / counts.total():.0f} %" for word, n in counts.most_common())
    return f"{knob} is {', '.join(shares)} of the layers"


def split_summary(document: Document) -> str:
    """Say by how much the test error of the front differs from what the search saw."""
    names = ("error", TEST_PREFIX + "error")
    both = drawable(document["front"], *names)
    if not both:
        return "The front has not been measured on the test split."
    gaps = [item["metrics"][names[1]] - item["metrics"][names[0]] for item in both]
    return (
        f"On the test split the error of the front's {_count(len(both), 'member')} differs by "
        f"{min(gaps):+.2f} to {max(gaps):+.2f} points, {sum(gaps) / len(gaps):+.2f} on average."
    )


def beacon_summary(document: Document) -> str:
    """Say how many beacons were made and what they did for the designs near them."""
    beacons = document["beacons"]
    if not beacons:
        return "No design has become a beacon."
    states = [str(beacon["state"]) for beacon in beacons]
    troubles = [
        f"{states.count(state)} {state.lower()}" for state in ("FAILED", "LOST") if state in states
    ]
    told = _count(len(beacons), "beacon") + (f" ({', '.join(troubles)})" if troubles else "")
    served = sum(beacon["served"] for beacon in beacons)
    if not served:
        return f"{told}; no design has its error from them."
    gains = [beacon["served"] * (beacon["mean_gain"] or 0.0) for beacon in beacons]
    members = sum(is_beacon(item["origin"]) for item in document["front"])
    return (
        f"{told}: {_count(served, 'design')} of the search, {members} of the front among them, "
        f"have their error from retrained weights, {sum(gains) / served:.2f} points below that "
        "on base weights on average."
    )


def _point(document: Document, item: Json) -> str:
    objectives = document["spec"]["objectives"]
    return " and ".join(metric_value(name, item["metrics"][name]) for name in objectives)


def _left_out(document: Document) -> str:
    rows = drawable((*document["evaluations"], *document["baselines"]), *axes(document))
    outside = len(rows) - len(inside(document, rows))
    told = ""
    if not all(item["feasible"] for item in document["baselines"]):
        told += " Baselines that break a constraint are drawn hollow."
    if outside:
        designs = _count(outside, "design")
        told += f" Outside the frame: {designs} breaking a constraint."
    return told


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
