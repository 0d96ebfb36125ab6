"""The Profile page as a person meets it: ask for a profile, look at every section, scan, and follow an advice."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
WORK_MS = 240_000
SECTIONS = {
    "Layers": "Download CSV",
    "Roofline": "Ceilings were measured in this profile",
    "Memory and numbers": "Memory over the forward pass",
    "Graph": "Precision",
}
"""Tabs, and words that each has."""


def test_from_no_profile_to_a_recipe_filled_in(server: Server, tab: Page) -> None:
    tab.goto(f"{server.address}/profile?model=student_dw_fmnist&runtime=onnxruntime")
    tab.get_by_role("button", name="Profile it").click()
    expect(tab.get_by_role("tab", name="Overview")).to_be_visible(timeout=WORK_MS)
    expect(tab.get_by_text("Latency p50").first).to_be_visible()
    for name, words in SECTIONS.items():
        tab.get_by_role("tab", name=name, exact=True).click()
        expect(tab.get_by_text(words).first).to_be_visible()
    expect(tab.get_by_test_id("stGraphVizChart").locator("g.node").first).to_be_visible()
    tab.get_by_role("tab", name="Sensitivity", exact=True).click()
    tab.get_by_role("button", name="Scan the layers").click()
    expect(tab.get_by_text(re.compile("Under INT8")).first).to_be_visible(timeout=WORK_MS)
    tab.get_by_role("button", name="Pick them").click()
    tab.get_by_role("button", name=re.compile("Keep them in float")).click()
    expect(tab.get_by_role("heading", name="Optimise", exact=True)).to_be_visible()
    expect(tab.get_by_text(re.compile("INT8 3 kept")).first).to_be_visible()
