"""Figures of a run, for pages, report and notebooks alike: a run's document in, a figure out."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

import plotly.graph_objects as go

from api.documents import Document, Json
from api.marks import (
    BASELINE_MARKS,
    FAINT_COLOUR,
    FRONT_COLOUR,
    SCALE,
    axes,
    blank_figure,
    colour_steps,
    drawable,
    frame,
    hover,
    kinds,
    line,
    points,
)
from api.tables import knob_layers, metric_title, sorted_front
from dse.metrics import METRICS, TEST_PREFIX

_MOST_LABELS: Final = 12
_MOST_PRINTED: Final = 30


def front_figure(document: Document) -> go.Figure:
    """Draw the front among all measured designs and baselines: the first two objectives, the
    third as colour. A search of one objective is drawn over its generations.

    The frame holds all that is feasible; what breaks a constraint may lie outside.
    """
    x, y = axes(document)
    figure = blank_figure(document, "Front and baselines", metric_title(x), metric_title(y))
    front = drawable(sorted_front(document), x, y)
    proposed = drawable(document["evaluations"], x, y)
    baselines = drawable(document["baselines"], x, y)
    figure.add_traces(_proposed_traces(proposed, {item["hash"] for item in front}, x, y))
    figure.add_traces(_baseline_traces(baselines, x, y))
    figure.add_trace(_front_trace(document, front, x, y))
    x_range, y_range = frame(document)
    figure.update_xaxes(range=x_range)
    figure.update_yaxes(range=y_range)
    return figure


def _proposed_traces(
    proposed: Sequence[Json], front: set[str], x: str, y: str
) -> list[go.Scatter]:
    others = [item for item in proposed if item["hash"] not in front]
    style = {"color": FAINT_COLOUR, "size": 7, "opacity": 0.8}
    return [
        points(
            [item for item in others if item["feasible"]],
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


def _front_trace(document: Document, front: Sequence[Json], x: str, y: str) -> go.Scatter:
    objectives = document["spec"]["objectives"]
    marker: dict[str, object] = {"color": FRONT_COLOUR, "size": 9}
    if len(objectives) > 2:
        third = objectives[2]
        marker["color"] = [item["metrics"][third] for item in front]
        marker |= {"colorscale": SCALE, "size": 11, "line": {"width": 1, "color": FAINT_COLOUR}}
        marker["colorbar"] = {"title": {"text": escape(metric_title(third)), "side": "right"}}
    trace = points(front, x, y, name="front", marker=marker)
    if len(objectives) == 2:
        # The step follows what the front attains: its y holds until a member improves on it.
        shape = "hv" if METRICS[x].goal == "min" else "vh"
        trace.update(mode="lines+markers", line={"shape": shape, "width": 1.5})
    return trace


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
    values = sorted({value for row in cells for value in row if value is not None})
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
}
"""Every figure by the name that pages and API know it by."""
