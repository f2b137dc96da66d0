"""The pages in a real browser."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from sqlalchemy import Engine

from api.app import create_app
from api.settings import Settings
from storage.engine import make_engine, upgrade
from storage.tables import JobState
from tests.api.served import served
from tests.api.stored_runs import (
    WEIGHTS,
    add_job,
    advance,
    finish,
    finished_job,
    job_with_beacons,
    take,
)

pytestmark = pytest.mark.slow

HOSTILE = "</script><script>document.title='broken in'</script><img src=x onerror=alert(1)>"
OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if found is None:
        message = "no Chromium on PATH: install the system's package chromium"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    with sync_playwright() as playwright:
        # Chromium's own sandbox refuses to run as root, as which CI runs.
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = make_engine(f"sqlite:///{tmp_path_factory.mktemp('pages') / 'dse.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def address(engine: Engine, home: Path) -> Iterator[str]:
    settings = Settings(home=home, database_url=str(engine.url))
    with served(create_app(settings, engine)) as address:
        yield address


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[OpenPage]:
    """Open pages of the service; whatever the browser complains of fails the test."""
    complaints: list[str] = []
    contexts = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    def open_page(path: str, **options: object) -> Page:
        context = browser.new_context(base_url=address, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: _refuse_foreign(request.url, address, complaints))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def _refuse_foreign(url: str, address: str, complaints: list[str]) -> None:
    if not url.startswith((address, "data:", "blob:")):
        complaints.append(f"the page asked {url}")


def drawn(page: Page, name: str) -> None:
    expect(page.get_by_test_id(f"figure-{name}")).to_have_attribute(
        "data-rendered", re.compile(r"\d+"), timeout=20_000
    )


def test_a_front_is_drawn_with_working_hover(open_page: OpenPage, engine: Engine) -> None:
    page = open_page(f"/jobs/{finished_job(engine, 'drawn')}")

    for name in ("front", "choices", "hypervolume"):
        drawn(page, name)
    layer = page.locator(".main-svg").first
    assert layer.evaluate("it => getComputedStyle(it).position") == "absolute"
    page.locator("[data-testid=figure-front] .scatterlayer .point").last.hover(force=True)
    label = page.locator("[data-testid=figure-front] .hoverlayer .hovertext")
    expect(label).to_be_visible()
    size = label.bounding_box()
    assert size is not None
    assert size["width"] < 500
    expect(page.get_by_role("img", name="Front and baselines")).to_be_visible()


def test_beacons_are_drawn_and_their_weights_can_be_had(
    open_page: OpenPage, engine: Engine, home: Path
) -> None:
    page = open_page(f"/jobs/{job_with_beacons(engine, home, HOSTILE)}")

    drawn(page, "front")
    drawn(page, "beacons")
    legend = page.locator("[data-testid=figure-front] .legendtext")
    expect(legend.filter(has_text="front, beacon 1")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("link", name="Weights of beacon 1").click()
    assert started.value.path().read_bytes() == WEIGHTS
    expect(page.get_by_role("link", name="Weights of beacon 3")).to_have_count(0)


def test_a_figure_that_shows_nothing_is_not_drawn(open_page: OpenPage, engine: Engine) -> None:
    page = open_page(f"/jobs/{finished_job(engine)}")

    drawn(page, "hypervolume")

    expect(page.get_by_test_id("figure-splits")).to_be_hidden()


def test_a_running_job_is_followed_to_its_end(open_page: OpenPage, engine: Engine) -> None:
    job_id = add_job(engine, "live")
    lease = take(engine, job_id)
    advance(engine, lease, 0)
    page = open_page(f"/jobs/{job_id}")
    expect(page.locator("#headlines")).to_contain_text("1 of 5")
    drawn(page, "front")
    before = page.get_by_test_id("table-front-1").inner_text()

    advance(engine, lease, 1)

    expect(page.locator("#headlines")).to_contain_text("2 of 5")
    expect(page.locator("#headlines")).to_contain_text("8 designs proposed")
    assert page.get_by_test_id("table-front-1").inner_text() != before
    finish(engine, lease, JobState.FAILED, error="it broke")
    expect(page.get_by_test_id("status")).to_have_attribute("data-state", "FAILED")
    expect(page.get_by_role("alert")).to_have_text("it broke")


def test_a_page_outlives_a_restart_of_the_service(
    browser: Browser, engine: Engine, tmp_path: Path
) -> None:
    job_id = add_job(engine, "restarted")
    lease = take(engine, job_id)
    settings = Settings(home=tmp_path, database_url=str(engine.url))
    page = browser.new_page()
    with served(create_app(settings, engine)) as address:
        page.goto(f"{address}/jobs/{job_id}")
        expect(page.locator("#headlines")).to_contain_text("0 of 5")
    advance(engine, lease, 0)
    port = int(address.rpartition(":")[2])
    with served(create_app(settings, engine), port=port):
        expect(page.locator("#headlines")).to_contain_text("1 of 5", timeout=15_000)
        page.close()
    finish(engine, lease, JobState.CANCELLED)


def test_new_jobs_appear_in_the_list(open_page: OpenPage, engine: Engine) -> None:
    page = open_page("/")
    name = "appears by itself"

    job_id = add_job(engine, name)

    link = page.get_by_role("link", name=name)
    expect(link).to_be_visible(timeout=10_000)
    link.click()
    expect(page).to_have_url(re.compile(job_id))


def test_hostile_names_stay_text(open_page: OpenPage, engine: Engine) -> None:
    job_id = finished_job(engine, HOSTILE)

    for path in ("/", f"/jobs/{job_id}"):
        page = open_page(path)
        expect(page.get_by_text(HOSTILE, exact=True).first).to_be_visible()
        assert page.title() != "broken in"
    drawn(page, "front")
    assert page.locator("img").count() == 0


def test_without_javascript_the_tables_say_it_all(open_page: OpenPage, engine: Engine) -> None:
    job_id = finished_job(engine, "plain")

    page = open_page("/", java_script_enabled=False)
    page.get_by_role("link", name="plain").click()

    expect(page.get_by_role("heading", name="plain")).to_be_visible()
    rows = page.get_by_role("region", name="The front").get_by_role("row")
    assert rows.count() == 4
    expect(page).to_have_url(re.compile(job_id))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_screen_needs_no_sideways_scrolling(
    open_page: OpenPage, engine: Engine, scheme: str
) -> None:
    job_id = finished_job(engine, "a-name-without-any-blank-" * 4)
    size = {"width": 360, "height": 700}

    for path in ("/", f"/jobs/{job_id}"):
        page = open_page(path, viewport=size, color_scheme=scheme)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_dark_pages_are_dark(open_page: OpenPage, engine: Engine) -> None:
    page = open_page(f"/jobs/{finished_job(engine)}", color_scheme="dark")
    drawn(page, "front")

    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = page.locator("[data-testid=figure-front] .xtick text").first.evaluate(
        "it => getComputedStyle(it).fill"
    )

    assert max(map(int, re.findall(r"\d+", ground)[:3])) < 60
    assert min(map(int, re.findall(r"\d+", ink)[:3])) > 180


def test_the_keyboard_reaches_a_job_and_its_tables(open_page: OpenPage, engine: Engine) -> None:
    finished_job(engine, "by keyboard")
    page = open_page("/")

    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.innerText") == "by keyboard":
            break
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="by keyboard")).to_be_visible()


def test_another_site_can_change_nothing(
    open_page: OpenPage, browser: Browser, address: str, engine: Engine
) -> None:
    job_id = add_job(engine, "attacked")
    page = browser.new_page()
    page.route("http://evil.example/", lambda route: route.fulfill(body="<p>evil"))
    page.goto("http://evil.example/")

    page.evaluate(
        "url => fetch(url, {method: 'POST', mode: 'no-cors'}).catch(() => null)",
        f"{address}/v1/jobs/{job_id}:cancel",
    )
    page.close()

    assert httpx.get(f"{address}/v1/jobs/{job_id}").json()["state"] == "READY"
