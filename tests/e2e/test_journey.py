"""The whole job as a person does it: open, pick, slide, run, watch, compare, download, unpack, run that file."""

from __future__ import annotations

import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import from_yaml
from tests.e2e.conftest import Server, start_server

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]
MODEL = "Tiny depthwise CNN (student)"
RUN_MS = 240_000
QUICK = Recipe(
    model="student_dw_fmnist",
    runtime="onnxruntime",
    measurement=MeasurementSettings(latency_seconds=1, sweep_seconds=0, threads=1),
)
TABS = {
    "Trade-offs": "What a variant may cost",
    "Why": "Settle it with an A/B duel",
    "Who pays": "Class by class",
    "Attribution": "None of the chosen variants has",
    "Report": "Your report",
}
"""The tabs of the Compare page, and words that each has for a baseline, a variant and its reference."""


def navigate(tab: Page, title: str) -> None:
    tab.get_by_test_id("stSidebarNav").get_by_role("link", name=title, exact=True).click()
    expect(tab.get_by_role("heading", name=title, exact=True)).to_be_visible()


def press_run(tab: Page) -> None:
    """Press Run once the page stands still: what an opened recipe adds above the button moves it."""
    expect(tab.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
    tab.get_by_role("button", name="Run", exact=True).click()


def queue_int8(tab: Page, server: Server) -> None:
    """Pick the smallest model, switch INT8 on, move its slider and press Run."""
    tab.goto(f"{server.address}/optimise?model=student_dw_fmnist")
    expect(tab.get_by_role("heading", name="Optimise", exact=True)).to_be_visible()
    tab.locator(".st-key-technique-int8").get_by_text("INT8 quantization").first.click()
    slider = tab.get_by_role("slider", name=re.compile("Calibration images"))
    slider.focus()
    for _ in range(3):
        slider.press("ArrowLeft")
    measure_briefly(tab)
    press_run(tab)


def measure_briefly(tab: Page) -> None:
    """Latency for the shortest time there is, and no batch sizes."""
    measurement = tab.locator(".st-key-measurement")
    measurement.get_by_text("Measurement").first.click()
    measurement.get_by_text("Advanced").first.click()
    for title in ("Time for latency", "Time for batch sizes"):
        tab.get_by_role("slider", name=re.compile(title)).press("Home")


def test_from_a_model_to_a_file_that_runs(server: Server, tab: Page, tmp_path: Path) -> None:
    tab.goto(server.address)
    navigate(tab, "Models")
    expect(tab.get_by_role("heading", name=MODEL)).to_be_visible()
    queue_int8(tab, server)
    expect(tab).to_have_url(re.compile(r"/runs\?run="))
    variant = tab.url.rpartition("=")[2]
    expect(tab.get_by_text("finished").first).to_be_visible(timeout=RUN_MS)
    expect(tab.locator(".st-key-export")).to_be_visible(timeout=RUN_MS)  # the variant's own numbers are there
    navigate(tab, "Compare")
    expect(tab.get_by_text("FP32 · PyTorch").first).to_be_visible()
    expect(tab.locator(".js-plotly-plot").first).to_be_visible()
    for name, words in TABS.items():
        tab.get_by_role("tab", name=name, exact=True).click()
        expect(tab.get_by_text(words).first).to_be_visible()
    navigate(tab, "Export")
    tab.goto(f"{server.address}/export?run={variant}")  # the newest may be what it is compared with
    with tab.expect_download() as download:
        tab.get_by_role("link", name=re.compile("Download")).first.click()
    download.value.save_as(tmp_path / "package.zip")
    folder = unpack(tmp_path / "package.zip", tmp_path / "unpacked")
    (int8,) = from_yaml((folder / "recipe.yaml").read_text()).techniques
    assert int8.calibration_images < type(int8)().calibration_images
    command = [sys.executable, "-I", "run.py"]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    assert "of 16 images right" in answer.stdout


def unpack(path: Path, target: Path) -> Path:
    with zipfile.ZipFile(path) as archive:
        archive.extractall(target)
    (folder,) = target.iterdir()
    return folder


def test_a_closed_tab_and_a_killed_server_lose_no_run(server: Server, tab: Page) -> None:
    store = server.store()
    run_id = store.enqueue(QUICK)
    tab.goto(address := f"{server.address}/runs?run={run_id}")
    expect(tab.get_by_role("heading", name=QUICK.title)).to_be_visible()
    tab.goto("about:blank")
    while not store.events(run_id, kinds=("phase",)):  # until then the server may not have handed it over
        time.sleep(0.05)
    server.kill()
    again = start_server(server.data, server.port)
    try:
        tab.goto(address)
        expect(tab.get_by_text("finished").first).to_be_visible(timeout=RUN_MS)
    finally:
        again.kill()
