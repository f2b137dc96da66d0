"""Marks and texts that the figures are made of.

Plotly renders some HTML in titles, labels and hover texts, so whatever a user may have named is
escaped here. Colours hold on white and on black, after Okabe and Ito's colour-blind palette, and
every kind of mark has its own symbol too. Nothing needs WebGL.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from api.documents import Document, Json
from api.tables import metric_value, number

FRONT_COLOUR: Final = "#2f7fc1"
FAINT_COLOUR: Final = "#8a939c"
BASELINE_MARKS: Final = (("#d55e00", "diamond"), ("#009e73", "triangle-up"), ("#b8679d", "square"))
BEACON_COLOUR: Final = "#e69f00"
BEACON_SYMBOLS: Final = ("star", "hexagram", "pentagon", "star-square", "cross")
Range = tuple[float, float]

SCALE: Final = "Cividis"


CONFIG: Final[Mapping[str, object]] = {
    "responsive": True,
    "displaylogo": False,
    # Plotly 7 offers to send the chart to its maker's cloud unless told not to.
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"],
}
"""How Plotly has to be set up in any page that draws these figures."""


def blank_figure(document: Document, title: str, x_title: str, y_title: str) -> go.Figure:
    """Return an empty figure named after the job, with titled axes."""
    name = document["spec"].get("name")
    axis = {"gridcolor": "rgba(138,147,156,0.25)", "zeroline": False, "automargin": True}
    return go.Figure(
        layout={
            "title": {"text": title + (f": {escape(name)}" if name else "")},
            "xaxis": {"title": {"text": escape(x_title)}, **axis},
            "yaxis": {"title": {"text": escape(y_title), "standoff": 12}, **axis},
            "template": "none",
            "hovermode": "closest",
            "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
            "margin": {"l": 60, "r": 20, "t": 70, "b": 55},
            "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": FAINT_COLOUR},
            "height": 460,
        }
    )


def points(
    items: Sequence[Json], x: str, y: str, *, name: str, marker: dict[str, object]
) -> go.Scatter:
    """Return one trace of designs; every item must have both figures."""
    return go.Scatter(
        x=[figure_of(item, x) for item in items],
        y=[figure_of(item, y) for item in items],
        mode="markers",
        name=escape(name),
        marker=marker,
        hovertext=[hover(item) for item in items],
        hoverinfo="text",
    )


def line(xs: Sequence[float], ys: Sequence[float], name: str, **style: object) -> go.Scatter:
    """Return one line without points."""
    return go.Scatter(x=list(xs), y=list(ys), mode="lines", name=name, line=style)


def hover(item: Json, metrics: Iterable[str] | None = None) -> str:
    """Return what the pointer sees of a design: its name and `metrics`, or every figure."""
    names = item["metrics"] if metrics is None else metrics
    told = [metric_value(name, item["metrics"].get(name)) for name in names]
    told += _readings(item)
    head = item.get("label") or f"{item['hash'][:10]}, generation {item['generation']}"
    return "<br>".join(map(escape, (head, *told)))


def _readings(item: Json) -> list[str]:
    reading = item.get("beacon")
    if reading is None:
        return []
    place = f"on beacon {reading['number']}, distance {number(reading['distance'])}"
    return [
        f"on base weights: {metric_value('error', item['base_error'])}",
        f"{place}: {metric_value('error', reading['error'])}",
    ]


def origins(items: Iterable[Json]) -> dict[str, list[Json]]:
    """Group designs by whose weights their metrics come from: base weights first, then beacons
    by number."""
    groups: dict[str, list[Json]] = {}
    for item in items:
        groups.setdefault(item["origin"], []).append(item)
    return dict(sorted(groups.items(), key=lambda group: beacon_number(group[0])))


def beacon_number(origin: str | None) -> int:
    """Return the number of the beacon that an origin names, 0 for base weights."""
    return int((origin or "").rpartition("beacon ")[2]) if is_beacon(origin) else 0


def is_beacon(origin: str | None) -> bool:
    """Tell whether metrics come from a beacon's weights."""
    return origin is not None and origin.startswith("beacon ")


def axes(document: Document) -> tuple[str, str]:
    """Return what the front is drawn over; a single objective stands over generations."""
    objectives = document["spec"]["objectives"]
    return (objectives[0], objectives[1]) if len(objectives) > 1 else ("generation", objectives[0])


def drawable(items: Iterable[Json], *names: str) -> list[Json]:
    """Return the items that have every figure: a network that never ran has no error."""
    return [item for item in items if {*names} <= {"generation", *item["metrics"]}]


def figure_of(item: Json, name: str) -> float:
    """Return a metric of a design, or the generation it was proposed in."""
    return float(item["generation"] if name == "generation" else item["metrics"][name])


def frame(document: Document) -> tuple[Range | None, Range | None]:
    """Return the ranges of both axes of the front that show all that is feasible, with some air;
    None when nothing is."""
    x, y = axes(document)
    rows = (*document["front"], *document["baselines"], *document["evaluations"])
    feasible = drawable((item for item in rows if item["feasible"]), x, y)
    return _range(feasible, x), _range(feasible, y)


def inside(document: Document, items: Iterable[Json]) -> list[Json]:
    """Return the items that the front's frame shows."""
    found = list(items)
    for axis, limits in zip(axes(document), frame(document), strict=True):
        if limits is not None:
            found = [e for e in found if limits[0] <= figure_of(e, axis) <= limits[1]]
    return found


def _range(items: Iterable[Json], axis: str) -> Range | None:
    values = [figure_of(item, axis) for item in items]
    if not values:
        return None
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    return low - air, high + air


def colour_steps(n: int) -> list[tuple[float, str]]:
    """Return a colour scale of n even steps."""
    colours = sample_colorscale(SCALE, [i / max(1, n - 1) for i in range(n)] or [0.0])
    ends = [i / len(colours) for i in range(len(colours) + 1)]
    edges = zip(pairwise(ends), colours, strict=True)
    return [(end, colour) for pair, colour in edges for end in pair]


def kinds(baselines: Iterable[Json]) -> dict[str, list[Json]]:
    """Group baselines by the first word of their labels."""
    groups: dict[str, list[Json]] = {}
    for item in baselines:
        groups.setdefault((item.get("label") or "baseline").split()[0], []).append(item)
    return groups
