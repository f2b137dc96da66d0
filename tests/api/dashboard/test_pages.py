import json
import re
from html.parser import HTMLParser

import httpx
import pytest
from sqlalchemy import Engine

from api.dashboard.rendering import PLOTLY_VERSION
from api.marks import CONFIG
from api.settings import Settings
from storage.tables import JobState
from tests.api.stored_runs import (
    add_job,
    advance,
    finish,
    finished_job,
    job_with_beacons,
    take,
)

BROWSER = {"Accept": "text/html"}
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)> \"'&"


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.shown: list[str] = []
        self.inline = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.inline += data
        self.shown.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.shown).split())

    def values(self, name: str) -> list[str]:
        return [attrs[name] or "" for _, attrs in self.tags if name in attrs]


def load(service: httpx.Client, path: str) -> Page:
    response = service.get(path, headers=BROWSER)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(response.text)


@pytest.fixture(scope="module")
def job(engine: Engine) -> str:
    return finished_job(engine, HOSTILE)


def test_jobs_are_listed_and_linked(service: httpx.Client, job: str) -> None:
    page = load(service, "/")

    assert f"/jobs/{job}" in page.values("href")
    assert "succeeded" in page.text
    assert "3/3" in page.text


def test_a_state_alone_can_be_listed(service: httpx.Client, engine: Engine, job: str) -> None:
    waiting = add_job(engine)

    links = load(service, "/?state=READY").values("href")

    assert f"/jobs/{waiting}" in links
    assert f"/jobs/{job}" not in links


def test_older_jobs_are_a_link_away(service: httpx.Client, engine: Engine, job: str) -> None:
    for i in range(60):
        add_job(engine, f"many {i}")

    page = load(service, "/")
    (older,) = [a["href"] for tag, a in page.tags if tag == "a" and a.get("rel") == "next"]
    rest = load(service, older or "")

    assert f"/jobs/{job}" not in page.values("href")
    assert f"/jobs/{job}" in rest.values("href")


@pytest.mark.parametrize("path", ["/", "/jobs/{job}"])
def test_no_name_becomes_markup(
    service: httpx.Client, engine: Engine, job: str, path: str
) -> None:
    add_job(engine, HOSTILE)

    page = load(service, path.format(job=job))

    assert " ".join(HOSTILE.split()) in page.text
    assert page.inline == ""
    assert not [tag for tag, _ in page.tags if tag == "img"]
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert not page.values("style")


def test_an_error_is_shown_as_text(service: httpx.Client, engine: Engine) -> None:
    job_id = add_job(engine)
    finish(engine, take(engine, job_id), JobState.FAILED, error=f"it said {HOSTILE}")

    page = load(service, f"/jobs/{job_id}")

    assert f"it said {' '.join(HOSTILE.split())}" in page.text
    assert page.inline == ""


def test_the_tables_carry_the_front_without_javascript(
    service: httpx.Client, engine: Engine, job: str
) -> None:
    front = service.get(f"/v1/jobs/{job}/front").json()["items"]

    text = load(service, f"/jobs/{job}").text

    for member in front:
        assert member["hash"][:10] in text
        assert f"{member['metrics']['error']:.4g}" in text


def test_beacons_stand_in_a_table_with_their_files(
    service: httpx.Client, engine: Engine, settings: Settings
) -> None:
    job_id = job_with_beacons(engine, settings.home)

    page = load(service, f"/jobs/{job_id}")

    base = f"/v1/jobs/{job_id}/beacons"
    assert [link for link in page.values("href") if link.startswith(base)] == [f"{base}/1/weights"]
    assert "4 designs of the search" in page.text
    for text in ("FAILED: loss is nan", "its file is missing", "mean gain (points)", "base error"):
        assert text in page.text
    assert service.get(f"{base}/1/weights").status_code == 200


def test_a_search_that_may_make_beacons_has_their_section_from_the_start(
    service: httpx.Client, engine: Engine, job: str
) -> None:
    waiting = add_job(engine, beacons={"enabled": True})

    assert "beacons" in load(service, f"/jobs/{waiting}").values("id")
    assert "beacons" not in load(service, f"/jobs/{job}").values("id")


def test_a_job_without_results_has_a_page(service: httpx.Client, engine: Engine) -> None:
    text = load(service, f"/jobs/{add_job(engine)}").text

    assert "0 of 5 generations finished" in text
    assert "The front is empty" in text


def test_only_a_job_that_moves_is_followed(
    service: httpx.Client, engine: Engine, job: str
) -> None:
    moving = add_job(engine)
    advance(engine, take(engine, moving), 0)

    assert load(service, f"/jobs/{moving}").values("data-events") == [
        f"/v1/jobs/{moving}/events?after=3"
    ]
    assert load(service, f"/jobs/{job}").values("data-events") == []


def test_charts_are_set_up_as_marks_say(service: httpx.Client, job: str) -> None:
    (config,) = load(service, f"/jobs/{job}").values("data-plotly")

    assert json.loads(config) == CONFIG


def test_every_part_that_is_swapped_has_an_id_of_its_own(service: httpx.Client, job: str) -> None:
    for path in ("/", f"/jobs/{job}"):
        page = load(service, path)
        live = [attrs.get("id") for _, attrs in page.tags if "data-live" in attrs]
        assert live
        assert all(live)
        assert len(set(page.values("id"))) == len(page.values("id"))


def test_what_pages_load_is_there_and_kept_for_good(service: httpx.Client, job: str) -> None:
    page = load(service, f"/jobs/{job}")
    links = [a["href"] for tag, a in page.tags if tag == "link"] + page.values("src")

    assert f"/static/plotly-{PLOTLY_VERSION}/plotly.min.js" in links
    for link in links:
        response = service.get(link or "")
        assert response.status_code == 200, link
        assert "immutable" in response.headers["Cache-Control"]
        assert re.match(r"(text/(css|javascript)|image/svg)", response.headers["Content-Type"])


@pytest.mark.parametrize(
    "path",
    [
        "/static/plotly-0/plotly.min.js",
        "/static/x/page.css",
        "/static/x/..%2f..%2fapp.py",
        "/static/../app.py",
        "/static/x/%00",
    ],
)
def test_nothing_else_is_served(service: httpx.Client, path: str) -> None:
    assert service.get(path).status_code == 404


def test_a_page_of_no_job_says_so(service: httpx.Client) -> None:
    response = service.get("/jobs/<script>alert(1)", headers=BROWSER)

    assert response.status_code == 404
    assert "<script>alert" not in response.text
    assert "unknown job" in response.text
