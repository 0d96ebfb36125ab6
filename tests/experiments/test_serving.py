"""The server in a package answers as the studio's own session does, and refuses what is no image with a sentence."""

from __future__ import annotations

import importlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from core.data import InputContract
from core.devices import find_device
from experiments.package import Options
from experiments.recipe import Recipe
from experiments.serving import dockerfile, images_at_once
from experiments.store import open_store
from runtimes import RUNTIMES, Artifact
from runtimes.torch_settings import CompileSettings
from tests.experiments.packages import packaged, result_of, unpacked

NOISE = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Artifact]]:
    """The module `serve` of an unpacked package, and the artifact in it."""
    folder = tmp_path_factory.mktemp("served")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDIO_DATA", str(folder / "data"))
        patch.delenv("STUDIO_STORE_URL", raising=False)
        patch.setenv("OMP_NUM_THREADS", "1")
        store = open_store()
        package, artifact = packaged(store, "onnxruntime", Options(server=True))
        store.close()
        patch.syspath_prepend(unpacked(package, folder))
        yield importlib.import_module("serve"), artifact
        for name in ("serve", "run"):
            del sys.modules[name]


@pytest.fixture
def client(served: tuple[Any, Artifact]) -> TestClient:
    return TestClient(served[0].app)


def png(pixels: np.ndarray) -> bytes:
    """uint8 [1, H, W] as a file."""
    Image.fromarray(pixels[0]).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def posted(client: TestClient, *contents: bytes) -> Any:
    return client.post("/classify", files=[("files", (f"{at}.png", each)) for at, each in enumerate(contents)])


def test_it_is_healthy_and_says_what_it_serves(client: TestClient) -> None:
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok", "model": "FP32 · ONNX Runtime", "file": "model.onnx", "threads": os.environ["OMP_NUM_THREADS"],
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 5])
def test_images_get_the_labels_and_confidences_of_the_studios_own_session(
    client: TestClient, served: tuple[Any, Artifact], count: int
) -> None:
    artifact = served[1]
    told = json.loads((artifact.folder / "contract.json").read_text())
    pixels = np.load(artifact.folder / "samples.npz")["pixels"][:count]
    with RUNTIMES["onnxruntime"].open(artifact, find_device("cpu"), threads=1) as session:
        x = InputContract(*told["shape"], told["mean"], told["std"], told["labels"]).prepare(pixels)
        scores = session.run(x).astype(np.float64)
    confidences = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    answer = posted(client, *(png(each) for each in pixels))
    assert answer.status_code == 200
    images = answer.json()["images"]
    assert [each["file"] for each in images] == [f"{at}.png" for at in range(count)]
    assert [each["label"] for each in images] == [told["labels"][best] for best in confidences.argmax(1)]
    np.testing.assert_allclose([each["confidence"] for each in images], confidences.max(1), atol=1e-5)
    for each in images:
        sure = [one["confidence"] for one in each["top"]]
        assert len(sure) == 5
        assert sure == sorted(sure, reverse=True)


def test_more_images_than_the_engine_takes_at_once_are_answered_alike(
    client: TestClient, served: tuple[Any, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [png(each) for each in np.load(served[1].folder / "samples.npz")["pixels"][:5]]
    together = posted(client, *files).json()["images"]
    monkeypatch.setattr(served[0], "AT_ONCE", 2)
    for before, after in zip(together, posted(client, *files).json()["images"], strict=True):
        assert before["label"] == after["label"]
        assert before["confidence"] == pytest.approx(after["confidence"], abs=1e-5)


@pytest.mark.parametrize(
    ("contents", "status", "words"),
    [
        ((), 400, "at least one image"),
        ((b"",), 400, "0.png is empty"),
        ((b"not an image, but words",), 415, "no image that can be read"),
        ((b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",), 415, "send PNG or JPEG"),
        ((png(NOISE)[:400],), 415, "no image that can be read"),
        ((bytes((10 << 20) + 1),), 413, "more than 10 MiB"),
        ((b"x",) * 65, 413, "this one has 65"),
    ],
)
def test_what_is_no_image_is_refused_with_a_sentence(
    client: TestClient, contents: tuple[bytes, ...], status: int, words: str
) -> None:
    answer = posted(client, *contents)
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_many_pixels_in_few_bytes_and_large_requests_are_refused_unread(client: TestClient) -> None:
    Image.new("1", (10_000, 10_000)).save(file := io.BytesIO(), "PNG")
    answer = posted(client, file.getvalue())
    assert (answer.status_code, "pixels" in answer.json()["detail"]) == (413, True)
    declared = client.post("/classify", content=b"", headers={"content-length": str(65 << 20)})
    assert (declared.status_code, "64 MiB" in declared.json()["detail"]) == (413, True)


def test_each_number_of_images_would_be_compiled_for_in_int8_and_with_frozen_weights() -> None:
    artifact = Artifact("torch_compile", "int8", Path(), ())
    int8 = result_of(artifact).model_copy(update={"precision": "int8"})
    assert images_at_once(Recipe(model="resnet_fmnist", runtime="torch_compile"), int8) == 1
    assert images_at_once(Recipe(model="resnet_fmnist", runtime="onnxruntime"), int8) == 64
    plain = Recipe(model="resnet_fmnist", runtime="torch_compile")
    float32 = int8.model_copy(update={"precision": "fp32"})
    assert images_at_once(plain, float32) == 64
    assert images_at_once(plain.model_copy(update={"engine": CompileSettings(freeze=True)}), float32) == 1


@pytest.mark.parametrize(("runtime", "has"), [("onnxruntime", ""), ("torch_compile", "g++"), ("pytorch", "whl/cpu")])
def test_the_dockerfile_pins_python_checks_health_and_runs_without_rights(runtime: str, has: str) -> None:
    result = result_of(Artifact(runtime, "fp32", Path(), ("model.bin",)))
    text = dockerfile(Recipe(model="resnet_fmnist", runtime=runtime), result, ("run.py", "serve.py"))
    instructions = dict(re.findall(r"^([A-Z]+) (.*)$", text, re.MULTILINE))
    assert instructions["FROM"] == f"python:{sys.version.split()[0]}-slim"
    assert instructions["USER"] == "server"
    assert "/health" in instructions["HEALTHCHECK"]
    assert instructions["ENV"] == "OMP_NUM_THREADS=1"
    assert instructions["COPY"] == "run.py serve.py ./"
    assert text.index("\nUSER") < text.index("\nCMD")
    assert has in text
