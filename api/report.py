"""One HTML file that tells a whole run and needs no network."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import jinja2
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from api import summaries
from api.documents import Document, Json
from api.figures import FIGURES
from api.files import write_text
from api.marks import CONFIG
from api.tables import (
    Table,
    baseline_table,
    beacon_table,
    choice_table,
    curve_table,
    evaluation_table,
    front_table,
    hypervolume_table,
    metric_plain,
    metric_unit,
    metric_value,
    number,
    sorted_front,
    split_table,
)
from dse.metrics import METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A figure with what it says in a sentence and in numbers."""

    name: str
    title: str
    summary: str
    figure: go.Figure
    tables: Mapping[str, Table]

    @property
    def empty(self) -> bool:
        return not any(table.rows for table in self.tables.values())


def write_report(document: Document, path: Path) -> None:
    """Write the report of a run; the file is complete or not there.

    Raises:
        DseError: the file cannot be written.
    """
    write_text(path, render_report(document))


def render_report(document: Document) -> str:
    """Return the report of a run as one HTML page, script and styles included."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("api"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "said": metric_value,
        "number": number,
        "plain": metric_plain,
        "bound": _bound,
    }
    return environment.get_template("report.html").render(
        document=document,
        job=document["job"],
        spec=document["spec"],
        metrics=METRICS,
        headlines=_headlines(document),
        exhibits=exhibits(document),
        plotly_config=Markup(json.dumps(CONFIG)),
        plotly_script=Markup(get_plotlyjs()),  # the package's own file, no user's text
        plotly_version=version("plotly"),
        figure_json=_figure_json,
        spec_json=json.dumps(document["spec"], indent=2, ensure_ascii=False),
    )


def exhibits(document: Document) -> list[Exhibit]:
    """Return what a run has to show, in the order of the report; beacons where it may make any."""
    rules = document["spec"].get("beacons", {})
    beacons = bool(document["beacons"]) or rules.get("enabled", False)
    return [
        Exhibit(
            name=name,
            title=title,
            summary=summary(document),
            figure=FIGURES[name](document),
            tables={heading: table(document) for heading, table in tables.items()},
        )
        for name, title, summary, tables in _EXHIBITS
        if name != "beacons" or beacons
    ]


_Tables = Mapping[str, Callable[[Document], Table]]

_EXHIBITS: Final[tuple[tuple[str, str, Callable[[Document], str], _Tables], ...]] = (
    (
        "front",
        "Front and baselines",
        summaries.front_summary,
        {
            "The front": front_table,
            "Baselines": baseline_table,
            "All designs of the search": evaluation_table,
        },
    ),
    (
        "beacons",
        "Beacons",
        summaries.beacon_summary,
        {"The beacons": beacon_table, "Error during retraining": curve_table},
    ),
    (
        "choices",
        "Choices along the front",
        summaries.choice_summary,
        {"Choices of every member": choice_table},
    ),
    (
        "hypervolume",
        "Hypervolume by generation",
        summaries.hypervolume_summary,
        {"Hypervolume of every generation": hypervolume_table},
    ),
    (
        "splits",
        "Error on unseen data",
        summaries.split_summary,
        {"Search and test error": split_table},
    ),
)


def _headlines(document: Document) -> list[tuple[str, str]]:
    """Return (figure, caption) pairs for the head of the page."""
    front, counts = sorted_front(document), document["job"].get("counts", {})
    found = [(str(len(front)), "designs on the front")]
    found += [(str(counts[key]), caption) for key, caption in _COUNTS.items() if key in counts]
    level = document["job"].get("baseline_hypervolume")
    if level and document["hypervolume"]:
        ratio = document["hypervolume"][-1] / level
        found.append((f"{ratio:.2f}×", "hypervolume of the baselines together"))
    for name in document["spec"]["objectives"] if front else ():
        best = min if METRICS[name].goal == "min" else max
        figure = best(item["metrics"][name] for item in front)
        found.append((f"{number(figure)} {metric_unit(name)}", f"best {metric_plain(name)}"))
    return found


_COUNTS: Final = {"networks_run": "networks run", "designs": "designs proposed"}


def _bound(constraint: Json) -> str:
    """Say a constraint in words."""
    name = constraint["metric"]
    if constraint.get("max_increase") is not None:
        unit = "points" if metric_unit(name) == "%" else metric_unit(name)
        increase = f"{number(constraint['max_increase'])} {unit}"
        return f"{metric_plain(name)} at most {increase} above the float network"
    relation, limit = "at least", constraint.get("min")
    if limit is None:
        relation, limit = "at most", constraint["max"]
    return f"{metric_plain(name)} {relation} {number(limit)} {metric_unit(name)}"


def _figure_json(figure: go.Figure) -> Markup:
    """Return a figure as JSON that cannot end the script element it stands in; its title is left
    to the page's heading."""
    data = json.loads(figure.to_json())
    del data["layout"]["title"]
    data["layout"]["margin"]["t"] = 35
    return Markup(json.dumps(data, sort_keys=True).replace("<", "\\u003c"))
