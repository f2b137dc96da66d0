"""Figures of a run, for pages, report and notebooks alike: a run's document in, a figure out."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

import plotly.graph_objects as go

from api.documents import Document, Json
from api.marks import (
    BASELINE_MARKS,
    BEACON_COLOUR,
    BEACON_SYMBOLS,
    FAINT_COLOUR,
    FRONT_COLOUR,
    SCALE,
    axes,
    beacon_number,
    blank_figure,
    colour_steps,
    drawable,
    figure_of,
    frame,
    hover,
    is_beacon,
    kinds,
    line,
    origins,
    points,
)
from api.tables import knob_layers, metric_title, metric_value, sorted_front
from dse.design import Value
from dse.metrics import METRICS, TEST_PREFIX

_MOST_LABELS: Final = 12
_MOST_PRINTED: Final = 30


def front_figure(document: Document) -> go.Figure:
    """Draw the front among all measured designs and baselines: the first two objectives, the
    third as colour. A search of one objective is drawn over its generations.

    The frame holds all that is feasible; what breaks a constraint may lie outside. Where there are
    beacons, marks say whose weights an error comes from.
    """
    x, y = axes(document)
    figure = blank_figure(document, "Front and baselines", metric_title(x), metric_title(y))
    front = drawable(sorted_front(document), x, y)
    proposed = drawable(document["evaluations"], x, y)
    baselines = drawable(document["baselines"], x, y)
    figure.add_traces(_proposed_traces(proposed, {item["hash"] for item in front}, x, y))
    figure.add_traces(_baseline_traces(baselines, x, y))
    figure.add_traces(_front_traces(document, front, x, y))
    x_range, y_range = frame(document)
    figure.update_xaxes(range=x_range)
    figure.update_yaxes(range=y_range)
    return figure


def _proposed_traces(
    proposed: Sequence[Json], front: set[str], x: str, y: str
) -> list[go.Scatter]:
    others = [item for item in proposed if item["hash"] not in front]
    feasible = [item for item in others if item["feasible"]]
    retrained = [item for item in feasible if is_beacon(item["origin"])]
    style = {"color": FAINT_COLOUR, "size": 7, "opacity": 0.8}
    traces = [
        points(
            [item for item in feasible if not is_beacon(item["origin"])],
            *(x, y),
            name="other designs",
            marker={"symbol": "circle-open", **style},
        ),
        points(
            [item for item in others if not item["feasible"]],
            *(x, y),
            name="breaks a constraint",
            marker={"symbol": "x-thin-open", **style},
        ),
    ]
    if retrained:
        marker = {**style, "symbol": "star-open", "color": BEACON_COLOUR}
        name = "other designs, on beacons"
        traces.append(points(retrained, x, y, name=name, marker=marker))
    return traces


def _baseline_traces(baselines: Sequence[Json], x: str, y: str) -> list[go.Scatter]:
    traces = []
    for i, (kind, items) in enumerate(kinds(baselines).items()):
        colour, symbol = BASELINE_MARKS[i % len(BASELINE_MARKS)]
        symbols = [symbol if item["feasible"] else f"{symbol}-open" for item in items]
        marker = {"color": colour, "symbol": symbols, "size": 10, "line": {"width": 1.5}}
        trace = points(items, x, y, name=kind, marker=marker)
        if len(items) <= _MOST_LABELS:
            names = [escape((item.get("label") or "").removeprefix(kind)) for item in items]
            trace.update(
                mode="markers+text", text=names, textposition="top center", cliponaxis=False
            )
        traces.append(trace)
    return traces


def _front_traces(document: Document, front: Sequence[Json], x: str, y: str) -> list[go.Scatter]:
    objectives = document["spec"]["objectives"]
    third = objectives[2] if len(objectives) > 2 else None
    if not any(is_beacon(item["origin"]) for item in front):
        whole = points(front, x, y, name="front", marker=_front_marker(front, front, third))
        if len(objectives) == 2:
            whole.update(mode="lines+markers", line=_step(x))
        return [whole]
    traces = []
    if len(objectives) == 2:
        xs, ys = ([figure_of(item, axis) for item in front] for axis in (x, y))
        traces.append(line(xs, ys, "front"))
        traces[0].update(line={**_step(x), "color": FRONT_COLOUR}, hoverinfo="skip")
    for origin, items in origins(front).items():
        marker = _front_marker(front, items, third, beacon_number(origin))
        traces.append(points(items, x, y, name=f"front, {origin}", marker=marker))
    return traces


def _step(x: str) -> dict[str, object]:
    # It follows what the front attains: its y holds until a member improves on it.
    return {"shape": "hv" if METRICS[x].goal == "min" else "vh", "width": 1.5}


def _front_marker(
    front: Sequence[Json], items: Sequence[Json], third: str | None, beacon: int = 0
) -> dict[str, object]:
    marker: dict[str, object] = {"color": FRONT_COLOUR, "size": 9}
    if beacon:
        symbol = BEACON_SYMBOLS[(beacon - 1) % len(BEACON_SYMBOLS)]
        marker = {"color": BEACON_COLOUR, "size": 12, "symbol": symbol}
    if third is None:
        return marker
    values = [item["metrics"][third] for item in front]
    marker["color"] = [item["metrics"][third] for item in items]
    marker |= {"colorscale": SCALE, "size": 11, "line": {"width": 1, "color": FAINT_COLOUR}}
    if values:
        marker |= {"cmin": min(values), "cmax": max(values)}
    # All parts of a front share one scale, which stands beside it once.
    marker["showscale"] = items[:1] == front[:1]
    marker["colorbar"] = {"title": {"text": escape(metric_title(third)), "side": "right"}}
    return marker


def hypervolume_figure(document: Document) -> go.Figure:
    """Draw the front's hypervolume after each generation, and the baselines' if it is known."""
    figure = blank_figure(document, "Hypervolume by generation", "generation", "hypervolume")
    values = document["hypervolume"]
    generations = list(range(len(values)))
    figure.add_trace(line(generations, values, "front", color=FRONT_COLOUR, width=2))
    level = document["job"].get("baseline_hypervolume")
    if level:
        ends = (0, max(1, len(values) - 1))
        style = {"color": BASELINE_MARKS[0][0], "dash": "dash", "width": 2}
        figure.add_trace(line(ends, (level, level), "baselines together", **style))
    figure.update_yaxes(rangemode="tozero")
    return figure


def choice_figure(document: Document) -> go.Figure:
    """Draw what the front's members choose: a knob and layer a row, a member a column."""
    objectives = document["spec"]["objectives"]
    front = sorted_front(document)
    places = knob_layers(front)
    cells = [[item["design"][knob].get(layer) for item in front] for knob, layer in places]
    values = sorted({v for row in cells for v in row if v is not None}, key=_value_order)
    rank = {value: i for i, value in enumerate(values)}
    names = [escape(f"{knob} {layer}") for knob, layer in places]
    texts = [hover(item, objectives) for item in front]
    title = f"members of the front, by {metric_title(objectives[0])}"
    figure = blank_figure(document, "Choices along the front", title, "knob and layer")
    figure.add_trace(
        go.Heatmap(
            x=list(range(1, len(front) + 1)),
            y=list(range(len(places))),
            z=[[None if value is None else rank[value] for value in row] for row in cells],
            zmin=-0.5,
            zmax=len(values) - 0.5,
            text=cells,
            texttemplate="%{text}" if len(front) <= _MOST_PRINTED else None,
            hovertext=[
                [f"{name}: {value}<br>{text}" for value, text in zip(row, texts, strict=True)]
                for name, row in zip(names, cells, strict=True)
            ],
            hoverinfo="text",
            colorscale=colour_steps(len(values)),
            xgap=1 if len(front) <= _MOST_PRINTED else 0,
            ygap=1,
            colorbar={
                "title": {"text": "value"},
                "tickvals": list(rank.values()),
                "ticktext": [str(value) for value in values],
            },
        )
    )
    for i, (above, below) in enumerate(pairwise(knob for knob, _ in places), 1):
        if above != below:
            figure.add_hline(i - 0.5, line={"color": FAINT_COLOUR, "width": 4})
    rows = list(range(len(places)))
    figure.update_yaxes(autorange="reversed", tickvals=rows, ticktext=names, showgrid=False)
    figure.update_xaxes(showgrid=False)
    return figure.update_layout(height=160 + 24 * len(places))


def _value_order(value: Value) -> tuple[bool, int, str]:
    """Numbers first, then words: one scale of colours serves all knobs."""
    return (True, 0, value) if isinstance(value, str) else (False, value, "")


def beacon_figure(document: Document) -> go.Figure:
    """Draw how retraining lowered the error of each beacon's own design, best steps marked."""
    title = "Error of beacons during retraining"
    figure = blank_figure(document, title, "step", metric_title("error"))
    for beacon in document["beacons"]:
        curve = beacon["curve"]
        if not curve:
            continue
        steps, errors = ([point[name] for point in curve] for name in ("step", "error"))
        sizes = [11 if step == beacon["best_step"] else 5 for step in steps]
        symbol = BEACON_SYMBOLS[(beacon["number"] - 1) % len(BEACON_SYMBOLS)]
        figure.add_trace(
            go.Scatter(
                x=steps,
                y=errors,
                mode="lines+markers",
                name=f"beacon {beacon['number']}",
                marker={"symbol": symbol, "size": sizes, "line": {"width": 0}},
                line={"width": 1.5},
                hovertext=[
                    f"beacon {beacon['number']}, step {step}<br>{metric_value('error', error)}"
                    for step, error in zip(steps, errors, strict=True)
                ],
                hoverinfo="text",
            )
        )
    return figure.update_yaxes(rangemode="tozero")


def split_figure(document: Document) -> go.Figure:
    """Draw the error on the test split over the error that the search saw."""
    x, y = "error", TEST_PREFIX + "error"
    figure = blank_figure(document, "Error on unseen data", metric_title(x), metric_title(y))
    front = drawable(sorted_front(document), x, y)
    baselines = drawable(document["baselines"], x, y)
    errors = [item["metrics"][name] for item in (*front, *baselines) for name in (x, y)]
    if errors:
        ends = (min(errors), max(errors))
        figure.add_trace(line(ends, ends, "equal", color=FAINT_COLOUR, dash="dot"))
    figure.add_traces(_baseline_traces(baselines, x, y))
    marker = {"color": FRONT_COLOUR, "size": 9}
    figure.add_trace(points(front, x, y, name="front", marker=marker))
    return figure


FIGURES: Mapping[str, Callable[[Document], go.Figure]] = {
    "front": front_figure,
    "hypervolume": hypervolume_figure,
    "choices": choice_figure,
    "splits": split_figure,
    "beacons": beacon_figure,
}
"""Every figure by the name that pages and API know it by."""
