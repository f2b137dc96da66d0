import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from api.documents import Document
from api.report import render_report, write_report
from dse.errors import DseError
from tests.api.run_documents import beacon_document, run_document, wide_front

HOSTILE = "</script><script>alert(1)</script> & <b>bold</b>"


class Page(HTMLParser):
    """What a browser would fetch, run and show of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self.shown: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.shown.append(data.strip())

    @property
    def figures(self) -> list[dict[str, object]]:
        return [json.loads(text) for text in self.scripts if text.startswith("{")]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render_report(run_document()))


def test_nothing_is_fetched_from_anywhere(page: Page) -> None:
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert not {"link", "img", "iframe", "object", "form", "base"} & set(page.tags)


def test_plotly_is_embedded_and_told_not_to_share(page: Page) -> None:
    assert max(map(len, page.scripts)) > 1_000_000
    assert '"showSendToCloud": false' in page.scripts[-1]


def test_styles_load_nothing() -> None:
    style = render_report(run_document()).partition("<style>")[2].partition("</style>")[0]

    assert "url(" not in style
    assert "@import" not in style


def test_figures_and_their_tables_stand_together(page: Page) -> None:
    assert len(page.figures) == 4
    assert all("title" not in figure["layout"] for figure in page.figures)  # type: ignore[operator]
    for heading in ("The front", "Baselines", "All designs of the search", "Choices of every"):
        assert any(text.startswith(heading) for text in page.shown)
    assert page.tags.count("table") == 7


def test_every_section_that_is_linked_exists() -> None:
    text = render_report(run_document())

    targets = re.findall(r'href="#([\w-]+)"', text)
    assert len(targets) == 6
    assert all(f'id="{target}"' in text for target in targets)


def test_what_was_searched_is_told_with_its_sources(page: Page) -> None:
    for text in (
        "memory at most 6 MiB",
        "error at most 20 points above the float network",
        "w_bits: 4, 8, 16",
        "sram_read_energy",
        "pJ/bit",
        "error 40 %, speedup 1 x",
    ):
        assert text in page.shown
    assert any("frame error 20.25 %" in text for text in page.shown)
    assert any(text.startswith("MOHAQ code, SiLago energy") for text in page.shown)


def test_what_a_user_named_is_shown_and_not_run() -> None:
    document = run_document(name=HOSTILE)
    for item in document["front"]:
        item["design"] = {"w_bits": {HOSTILE: 4}}
    plain = Page(render_report(run_document()))

    hostile = Page(render_report(document))

    assert len(hostile.scripts) == len(plain.scripts)
    assert hostile.tags.count("b") == plain.tags.count("b")
    assert HOSTILE in hostile.shown


@pytest.mark.parametrize(
    ("document", "figures"),
    [
        (run_document(designs=0), 2),
        (run_document(designs=1), 3),
        (run_document(objectives=("error",)), 4),
        (run_document(objectives=("error", "speedup", "energy_uj")), 4),
        (wide_front(200), 4),
    ],
    ids=["empty", "one design", "one objective", "three objectives", "200 members"],
)
def test_figures_without_data_are_left_out(document: Document, figures: int) -> None:
    assert len(Page(render_report(document)).figures) == figures


def test_beacons_have_a_section_of_their_own() -> None:
    page = Page(render_report(beacon_document()))

    assert "#beacons" in page.links
    assert len(page.figures) == 5
    assert "FAILED: loss is nan at step 3" in page.shown
    assert any("20 designs of the search" in text for text in page.shown)


def test_a_search_that_made_no_beacon_says_so() -> None:
    document = run_document()
    document["spec"]["beacons"] = {"enabled": True}

    page = Page(render_report(document))

    assert "No design has become a beacon." in page.shown
    assert len(page.figures) == 4


def test_a_job_that_is_not_finished_has_a_report() -> None:
    document = run_document()
    document["job"] |= {"finished_at": None, "state": "LEASED", "float_metrics": {}}

    shown = Page(render_report(document)).shown

    assert "not measured" in shown


def test_the_file_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("older")

    write_report(run_document(), path)

    assert path.read_text(encoding="utf-8") == render_report(run_document())
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DseError, match=r"cannot write .*report\.html: No such file"):
        write_report(run_document(), tmp_path / "nowhere" / "report.html")


def test_an_unfinished_file_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(DseError, match="No space left on device"):
        write_report(run_document(), tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []
