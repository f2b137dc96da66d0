"""Plain tables of a run: what pages, reports and figures' companions show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.documents import Document, Json
from dse.design import Value
from dse.errors import UnknownNameError
from dse.knobs import KNOBS
from dse.metrics import METRICS, TEST_PREFIX, metric

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with units in their headings; None is a figure that does not exist."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def front_table(document: Document) -> Table:
    """List the front along its first objective, every metric a column."""
    front = sorted_front(document)
    facts = [
        (i, item["hash"][:10], item["generation"], *_origin(document, item))
        for i, item in enumerate(front, 1)
    ]
    heads = ("member", "design", "generation", *_origin_heads(document))
    return _with_metrics(document, front, heads, facts)


def baseline_table(document: Document) -> Table:
    """List uniform and greedy designs in the order they were made."""
    items = document["baselines"]
    facts = [(item.get("label"), item["hash"][:10], _yes(item["feasible"])) for item in items]
    return _with_metrics(document, items, ("baseline", "design", "feasible"), facts)


def evaluation_table(document: Document) -> Table:
    """List every design that the search proposed; one without an error was screened by cost."""
    items = document["evaluations"]
    facts = [
        (item["generation"], item["hash"][:10], _yes(item["feasible"]), *_origin(document, item))
        for item in items
    ]
    heads = ("generation", "design", "feasible", *_origin_heads(document))
    return _with_metrics(document, items, heads, facts)


def hypervolume_table(document: Document) -> Table:
    """List the hypervolume of the front after each generation."""
    return Table(("generation", "hypervolume"), tuple(enumerate(document["hypervolume"])))


def choice_table(document: Document) -> Table:
    """List what each member of the front chooses: a member a row, a knob and layer a column."""
    front = sorted_front(document)
    places = knob_layers(front)
    rows = [
        (i, *(item["design"][knob].get(layer) for knob, layer in places))
        for i, item in enumerate(front, 1)
    ]
    return Table(("member", *(f"{knob} {layer}" for knob, layer in places)), tuple(rows))


def split_table(document: Document) -> Table:
    """List the errors on the search and the test split of front and baselines."""
    names = ("error", TEST_PREFIX + "error")
    front = [("front", item) for item in sorted_front(document)]
    items = [*front, *(("baseline", item) for item in document["baselines"])]
    rows = [
        (kind, item.get("label") or item["hash"][:10], *(item["metrics"][name] for name in names))
        for kind, item in items
        if {*names} <= set(item["metrics"])
    ]
    return Table(("", "design", *map(metric_title, names)), tuple(rows))


def beacon_table(document: Document) -> Table:
    """List the beacons: what retraining did to their designs, and what they did for others."""
    rows = [
        (
            beacon["number"],
            str(beacon["state"]).lower(),
            beacon["base_error"],
            beacon["error"],
            beacon["served"],
            beacon["mean_gain"],
            beacon["generation"],
            beacon["hash"][:10],
            widths(beacon),
            beacon["best_step"],
            beacon["steps"],
            beacon["reason"],
        )
        for beacon in document["beacons"]
    ]
    return Table(_BEACON_HEADS, tuple(rows))


_BEACON_HEADS = (
    *("beacon", "state", "error before (%)", "error after (%)"),
    *("designs served", "mean gain (points)", "generation", "design", "values by layer"),
    *("best step", "of steps", "reason"),
)


def curve_table(document: Document) -> Table:
    """List how far each retraining was at its looks at the search split."""
    rows = [
        (beacon["number"], point["step"], point["loss"], point["error"])
        for beacon in document["beacons"]
        for point in beacon["curve"]
    ]
    return Table(("beacon", "step", "loss", "error (%)"), tuple(rows))


def widths(item: Mapping[str, Any]) -> str:  # JSON data
    """Return a design's widths in layer order, weights and then activations; its other numbers
    with the knob's name, and its words with the layers that they hold in, both as far as they are
    not neutral."""
    numbers, words = [], []
    for knob, layers in item["design"].items():
        if KNOBS[knob].ordered:
            told = ",".join(str(value) for value in layers.values())
            if knob in ("w_bits", "a_bits"):
                numbers.append(told)
            elif any(value != KNOBS[knob].neutral for value in layers.values()):
                numbers.append(f"{knob} {told}")
        else:
            words += _words(layers, KNOBS[knob].neutral)
    return " / ".join([*numbers, *words])


def _words(layers: Mapping[str, Value], neutral: Value) -> list[str]:
    chosen = dict.fromkeys(word for word in layers.values() if word != neutral)
    found = {word: [layer for layer in layers if layers[layer] == word] for word in chosen}
    return [
        str(word) if len(names) == len(layers) else f"{word}: {' '.join(names)}"
        for word, names in found.items()
    ]


def sorted_front(document: Document) -> list[Json]:
    """Return the front by ascending objectives, the first one first, then by hash."""
    objectives = document["spec"]["objectives"]
    return sorted(
        document["front"],
        key=lambda item: (*(item["metrics"][name] for name in objectives), item["hash"]),
    )


def knob_layers(items: Iterable[Json]) -> list[tuple[str, str]]:
    """Return every (knob, layer) that the designs choose at, knobs together, in given order."""
    knobs: dict[str, dict[str, None]] = {}
    for item in items:
        for knob, values in item["design"].items():
            knobs.setdefault(knob, {}).update(dict.fromkeys(values))
    return [(knob, layer) for knob, layers in knobs.items() for layer in layers]


def metric_title(name: str) -> str:
    """Return a metric's name with its unit as a heading, e.g. "test error (%)"."""
    unit = metric_unit(name)
    return f"{metric_plain(name)} ({unit})" if unit else metric_plain(name)


def metric_value(name: str, value: Cell) -> str:
    """Return a metric as it is said, e.g. "test error 12.5 %"."""
    return f"{metric_plain(name)} {number(value)} {metric_unit(name)}".rstrip()


def metric_plain(name: str) -> str:
    """Return a metric's name in words, without the unit that it may end with."""
    return name.removesuffix(f"_{metric_unit(name).lower()}").replace("_", " ")


def metric_unit(name: str) -> str:
    """Return a metric's unit; empty for what the catalogue does not know."""
    try:
        return metric(name).unit
    except UnknownNameError:
        return ""


def number(value: Cell) -> str:
    """Return a cell as text: four significant digits, a dash for what does not exist."""
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def metric_names(document: Document, items: Iterable[Json]) -> list[str]:
    """Return the metrics that occur, objectives first, each before its test figure."""
    present = {name for item in items for name in item["metrics"]}
    plain = [*document["spec"]["objectives"], *METRICS, *sorted(present)]
    both = dict.fromkeys(n for name in plain for n in (name, TEST_PREFIX + name))
    return [name for name in both if name in present]


def _with_metrics(
    document: Document,
    items: Sequence[Json],
    heads: tuple[str, ...],
    facts: Sequence[tuple[Cell, ...]],
) -> Table:
    names = metric_names(document, items)
    rows = [
        (*fact, *(item["metrics"].get(name) for name in names))
        for fact, item in zip(facts, items, strict=True)
    ]
    return Table((*heads, *map(metric_title, names)), tuple(rows))


def _origin_heads(document: Document) -> tuple[str, ...]:
    heads = ("weights", "base error (%)", "beacon", "distance", "error on beacon (%)")
    return heads if document["beacons"] else ()


def _origin(document: Document, item: Json) -> tuple[Cell, ...]:
    if not document["beacons"]:
        return ()
    reading = item["beacon"] or {}
    told = (reading.get(name) for name in ("number", "distance", "error"))
    return (item["origin"], item["base_error"], *told)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"
