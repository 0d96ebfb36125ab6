"""The report as its readers get it: downloaded, opened from disk without a network, printed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from experiments.cost import Price
from experiments.recipe import Recipe
from experiments.report import Wishes
from experiments.store import Store
from tests.e2e.conftest import Server, serving
from tests.ui.report.reading import BASELINE, INT8, leave, report_on
from ui.report import html_of

pytestmark = pytest.mark.browser
NASTY = """</script><script>window.hacked = 1</script> <img src=x onerror="window.hacked = 1"> & 'quotes' ]]>"""
WHY = (("INT8 is 2.0x faster", (("Conversions", 0.1, "They only change the number format."),)),)
CHARTS = 6


@pytest.fixture
def reader(browser: Browser) -> Iterator[Page]:
    """A tab without a network that fails the test on any request, message or error."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.route(re.compile("^(?!file:)"), lambda route: (wrong.append(route.request.url), route.abort())[1])
    context.set_offline(True)
    yield page
    assert wrong == []
    context.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for both tests that look at the tab, with a baseline and a variant."""
    with serving(tmp_path_factory.mktemp("report") / "data") as running:
        leave(running.store(), BASELINE, p50_ms=2.0)
        leave(running.store(), INT8, p50_ms=0.5)
        yield running


@pytest.fixture
def file(store: Store, tmp_path: Path) -> Path:
    """A report on three variants, one of which has a name that would like to be code."""
    leave(store, BASELINE, p50_ms=2.0)
    leave(store, INT8, p50_ms=0.5)
    leave(store, Recipe(model="resnet_fmnist", runtime="openvino", name=NASTY[:120]), p50_ms=1.0)
    path = tmp_path / "report.html"
    wishes = Wishes(title=NASTY, price=Price(1.2, "hour", "INR"), why=WHY)
    path.write_bytes(html_of(report_on(store, wishes)).encode())
    return path


def drawn(page: Page) -> None:
    """Wait until every chart has been drawn, with something in it."""
    expect(page.locator(".js-plotly-plot")).to_have_count(CHARTS)
    expect(page.locator(".js-plotly-plot .main-svg:first-child")).to_have_count(CHARTS)
    for each in page.locator(".js-plotly-plot").all():
        assert each.locator(".trace").count() > 0


def widths(page: Page) -> list[tuple[float, float]]:
    """How wide each chart is, and the room it has."""
    script = "nodes => nodes.map(n => [n.querySelector('.main-svg').clientWidth, n.parentElement.clientWidth])"
    return [(drawn, room) for drawn, room in page.locator(".chart").evaluate_all(script)]


def test_it_opens_from_disk_without_a_network(reader: Page, file: Path) -> None:
    reader.goto(file.as_uri())
    drawn(reader)
    expect(reader.get_by_role("heading", level=1)).to_have_text(NASTY)
    assert reader.evaluate("window.hacked") is None
    reader.locator(".js-plotly-plot .nsewdrag").first.hover()
    expect(reader.locator(".js-plotly-plot .hoverlayer").first).to_be_attached()


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_nothing_is_wider_than_the_window(reader: Page, file: Path, width: int) -> None:
    reader.set_viewport_size({"width": width, "height": 800})
    reader.goto(file.as_uri())
    drawn(reader)
    assert reader.evaluate("document.documentElement.scrollWidth") <= width
    assert all(chart <= room for chart, room in widths(reader)[:4])


def test_print_opens_what_is_folded_and_fits_charts_to_the_paper(reader: Page, file: Path) -> None:
    reader.goto(file.as_uri())
    drawn(reader)
    before = widths(reader)
    reader.evaluate(
        """() => addEventListener("beforeprint", () => {
            window.printed = {
                folded: document.querySelectorAll("details:not([open])").length,
                widths: [...document.querySelectorAll(".chart .main-svg")].map(n => +n.getAttribute("width")),
            };
        })"""
    )
    pdf = reader.pdf(prefer_css_page_size=True)
    assert pdf.startswith(b"%PDF")
    printed = reader.evaluate("window.printed")
    assert printed["folded"] == 0
    assert max(printed["widths"]) <= 680
    give_up = time.monotonic() + 60
    while widths(reader) != before:  # it draws them again when it comes to it
        assert time.monotonic() < give_up, (widths(reader), before)
        reader.wait_for_timeout(50)
    assert reader.locator("details[open]").count() == 0


def test_what_the_tab_offers_to_download_is_such_a_file(
    server: Server, tab: Page, reader: Page, tmp_path: Path
) -> None:
    tab.goto(f"{server.address}/compare?model=resnet_fmnist&tab=Report")
    tab.get_by_label("Title", exact=True).fill("For the board")
    tab.get_by_label("$ per hour of the machine").fill("1.20")
    tab.get_by_label("$ per hour of the machine").press("Enter")
    expect(tab.get_by_text("Cost per million images").first).to_be_visible()
    # Until the page is drawn to its end, what the button offers belongs to the drawing before.
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    with tab.expect_download() as download:
        tab.get_by_role("button", name="Download report").click()
    assert download.value.suggested_filename == "resnet_fmnist-report.html"
    download.value.save_as(tmp_path / "report.html")
    reader.goto((tmp_path / "report.html").as_uri())
    drawn(reader)
    expect(reader.get_by_role("heading", level=1)).to_have_text("For the board")
    expect(reader.get_by_text("$1.20 per hour of a machine always busy")).to_be_visible()


def test_the_tab_shows_it_under_the_apps_own_policy(server: Server, tab: Page) -> None:
    tab.goto(f"{server.address}/compare?model=resnet_fmnist&tab=Report")
    tab.get_by_text("Show it here").click()
    expect(tab.frame_locator("iframe").locator(".js-plotly-plot")).to_have_count(CHARTS)
