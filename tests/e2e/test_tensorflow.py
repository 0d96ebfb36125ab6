"""A network of Keras on a person's disk, from the upload to a file that a fresh process runs without TensorFlow."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from bridges.environments import TENSORFLOW
from core.data import Pixels
from experiments.recipe import MeasurementSettings, Recipe
from experiments.recipe_file import to_yaml
from intake import sandbox
from optimizers import TECHNIQUES
from sample_models import datasets
from tests.e2e.conftest import Server
from tests.e2e.test_bring import upload
from tests.e2e.test_journey import RUN_MS, navigate, press_run, unpack

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(TENSORFLOW.why_missing), reason=str(TENSORFLOW.why_missing)),
    pytest.mark.skipif(sandbox.why_unavailable() is not None, reason="no sandbox on this machine"),
]
TRAIN = """
import sys, keras, numpy as np

keras.utils.set_random_seed(0)
images, labels = np.load(sys.argv[1]), np.load(sys.argv[2])
network = keras.Sequential([
    keras.Input((28, 28, 1)),
    keras.layers.Conv2D(16, 3, padding="same", use_bias=False),
    keras.layers.BatchNormalization(),
    keras.layers.ReLU(),
    keras.layers.MaxPooling2D(),
    keras.layers.Conv2D(32, 3, activation="relu"),
    keras.layers.MaxPooling2D(),
    keras.layers.Flatten(),
    keras.layers.Dense(10, activation="softmax"),
])
network.compile("adam", "sparse_categorical_crossentropy")
network.fit(images.transpose(0, 2, 3, 1) / 255, labels, batch_size=64, epochs=3, verbose=0)
network.save(sys.argv[3])
"""
"""As tutorials of Keras have it."""
_SHOWN = 20


def keras_file(folder: Path) -> Path:
    """A small network of Keras 3, trained on 4,000 of the images that come with the studio."""
    train = datasets.fashion_mnist().train
    np.save(folder / "images.npy", train.pixels[:4000])
    np.save(folder / "labels.npy", train.targets[:4000])
    file = folder / "small.keras"
    command = [TENSORFLOW.python, "-c", TRAIN, folder / "images.npy", folder / "labels.npy", file]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return file


def test_a_keras_network_goes_from_the_upload_to_a_tflite_file_that_runs(
    server: Server, tab: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab.goto(server.address)
    navigate(tab, "Bring your own")
    upload(tab, 0, keras_file(tmp_path))
    add_with_fashion_mnist(tab)
    tab.get_by_role("button", name="Optimise this model").first.click()
    expect(tab).to_have_url(re.compile(r"/optimise\?model=keras-small-"))
    key = tab.url.rpartition("=")[2]
    recipe = Recipe(
        model=key,
        techniques=(TECHNIQUES["keras_quantization"](scheme="int8", calibration_images=64),),
        runtime="litert",
        measurement=MeasurementSettings(latency_seconds=1, sweep_seconds=0, threads=1),
    )
    run(tab, recipe)
    navigate(tab, "Compare")
    expect(tab.get_by_text("FP32 · LiteRT").first).to_be_visible()
    monkeypatch.setenv("STUDIO_DATA", str(server.data))  # where this process looks for the model
    runs = server.store().runs(model=key)
    assert [each.state for each in runs] == ["finished"] * 2, [(each.title, each.state, each.error) for each in runs]
    records = server.store().variants(key, recipe.settings, limit=5)
    summaries = {not record.recipe.techniques: record.summary for record in records}
    assert summaries[True].accuracy >= 0.75, "three epochs over 4,000 images reach about 83 %"
    assert summaries[False].accuracy >= summaries[True].accuracy - 0.02
    assert summaries[False].size_bytes < 0.4 * summaries[True].size_bytes
    navigate(tab, "Export")
    with tab.expect_download() as download:
        tab.get_by_role("link", name=re.compile("Download")).first.click()
    download.value.save_as(tmp_path / "package.zip")
    folder = unpack(tmp_path / "package.zip", tmp_path / "unpacked")
    test = datasets.fashion_mnist().test.take(_SHOWN)
    right = [datasets.FASHION_CONTRACT.labels[target] for target in test.targets]
    said = predicted(folder, test.pixels)
    assert sum(each == label for each, label in zip(said, right, strict=True)) >= 0.6 * _SHOWN, (said, right)


def add_with_fashion_mnist(tab: Page) -> None:
    """On the page to bring a model, once it was read: the bundled images, and how pixels were prepared."""
    expect(tab.get_by_text("Images to judge by")).to_be_visible(timeout=RUN_MS)
    for title, value in (("Mean", "0"), ("Deviation", "255"), ("Name", "Small")):
        field = tab.get_by_label(title, exact=True)
        field.fill(value)
        field.press("Enter")
    tab.get_by_role("button", name="Add this model").click()
    expect(tab.get_by_text("Small was added")).to_be_visible(timeout=RUN_MS)


def run(tab: Page, recipe: Recipe) -> None:
    """Run what a file says, and wait for its numbers."""
    tab.locator(".st-key-yaml").get_by_text("Recipe as YAML").click()
    tab.locator(".st-key-yaml input[type=file]").set_input_files(
        {"name": "recipe.yaml", "mimeType": "application/yaml", "buffer": to_yaml(recipe).encode()}
    )
    expect(tab.get_by_role("slider", name=re.compile("Calibration images")).first).to_be_visible()
    press_run(tab)
    expect(tab.locator(".st-key-export")).to_be_visible(timeout=RUN_MS)


def predicted(folder: Path, pixels: Pixels) -> list[str]:
    """Classes of uint8 [N, 1, H, W], by the package's program in a process that knows neither studio nor TensorFlow."""
    names = [f"{place}.png" for place in range(len(pixels))]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image[0]).save(folder / name)
    command = [sys.executable, "-I", "run.py", *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    return re.findall(r"^\d+: (.*) \(", done.stdout, re.MULTILINE)
