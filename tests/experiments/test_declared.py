"""Models that the owner of the machine names, their own code among them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import BadInput
from core.progress import result_of
from experiments import models
from experiments.declared import Declared, bring, read, validated
from intake import sandbox
from intake.library import own_folder, own_model
from tests.experiments.brought import image_zip, onnx_file

needs_sandbox = pytest.mark.skipif(sandbox.why_unavailable() is not None, reason="no sandbox on this machine")
FACTORY = """
from torch import nn

class Means(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Conv2d(3, 3, 1, bias=False)
        nn.init.dirac_(self.scale.weight)

    def forward(self, x):
        return self.scale(x).mean((2, 3))

def make():
    return Means()
"""
INPUT = {"height": 8, "width": 8, "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    return tmp_path


@needs_sandbox
def test_a_function_of_ones_own_becomes_a_model_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text(FACTORY)
    image_zip(tmp_path)
    declared = Declared(title="Mine", factory="my_nets:make", data="images.zip", train=0.2, input=INPUT)
    key = result_of(bring(declared, tmp_path))
    model = own_model(key)
    assert model
    assert (model.title, model.form, model.correct) == ("Mine", "torch", model.judged)
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)
    import torch

    assert np.allclose(models.load(key).module(torch.from_numpy(x)).detach().numpy(), x.mean((2, 3)), atol=1e-6)
    assert {path.name for path in own_folder("").iterdir()} <= {"items", "models"}
    assert list((own_folder("") / "items").iterdir()) == []


@needs_sandbox
def test_a_folder_of_images_and_a_file_in_yaml(tmp_path: Path) -> None:
    import zipfile

    onnx_file(tmp_path)
    with zipfile.ZipFile(image_zip(tmp_path)) as archive:
        archive.extractall(tmp_path / "flowers")
    (tmp_path / "models.yaml").write_text(
        f"models:\n  - onnx: net.onnx\n    data: flowers\n    calibrate: 0.5\n    input: {INPUT}\n"
    )
    (declared,) = read(tmp_path / "models.yaml")
    model = own_model(result_of(bring(declared, tmp_path)))
    assert model
    assert (model.title, model.data_title, model.counts["calibrate"]) == ("net", "flowers", 9)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("models: []", "names no models"),
        ("- a", "names no models"),
        ("models: [", "cannot be read"),
        ("models: [{data: x}]", "said to be nothing"),
        ("models: [{data: x, onnx: a, factory: 'b:c'}]", "onnx and factory"),
        ("models: [{data: x, onnx: a, train: 2}]", "model 1: train"),
        ("models: [{data: x, onnx: a, colour: red}]", "model 1: colour"),
    ],
)
def test_a_file_that_is_wrong_is_told_where(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(content)
    with pytest.raises(BadInput, match=says):
        read(path)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"missing\.onnx is not there"):
        result_of(bring(validated({"onnx": "missing.onnx", "data": "x"}, "here"), tmp_path))
    with pytest.raises(BadInput, match="torchvision/NAME"):
        result_of(bring(validated({"architecture": "keras/vgg", "data": "x"}, "here"), tmp_path))
