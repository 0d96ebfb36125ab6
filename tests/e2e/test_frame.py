"""What every page shows, whichever is asked for first."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server, serving

pytestmark = pytest.mark.browser
TITLES = {
    "": "Post-Training Studio",
    "models": "Models",
    "optimise": "Optimise",
    "runs": "Runs",
    "compare": "Compare",
    "export": "Export",
    "learn": "Learn",
    "system": "System",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all, asked for a page by the first of them."""
    with serving(tmp_path_factory.mktemp("frame") / "data") as running:
        yield running


def test_a_deep_link_as_the_very_first_request_shows_the_framed_page(server: Server, tab: Page) -> None:
    tab.goto(f"{server.address}/compare")
    expect(tab.get_by_role("heading", name="Compare", exact=True)).to_be_visible()
    expect(tab.get_by_test_id("stSidebarNav").get_by_text("Optimise")).to_be_visible()
    expect(tab).to_have_title("Post-Training Studio")


def test_every_page_opens_from_the_navigation_and_says_what_to_do_when_empty(server: Server, tab: Page) -> None:
    tab.goto(server.address)
    for path, title in TITLES.items():
        tab.get_by_test_id("stSidebarNav").get_by_role("link", name=title if path else "Home", exact=True).click()
        expect(tab.get_by_role("heading", name=title, exact=True)).to_be_visible()


@pytest.mark.parametrize("address", ["runs?run=nonsense", "export?run=nonsense", "optimise?model=nonsense"])
def test_a_wrong_address_gets_a_sentence_and_the_page_stays(server: Server, tab: Page, address: str) -> None:
    tab.goto(f"{server.address}/{address}")
    expect(tab.get_by_role("heading", name=TITLES[address.partition("?")[0]], exact=True)).to_be_visible()


def test_answers_carry_security_headers(server: Server) -> None:
    with urllib.request.urlopen(server.address) as answer:
        assert "frame-ancestors" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
