"""Models put together from real files, judged against what the images and networks were made to be."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from core.bundle import OnnxGraph
from core.errors import BadInput, Refused
from core.progress import result_of
from experiments import models
from experiments.adding import add
from experiments.bringing import keep_checked
from experiments.jobs import AddOrder, DataChoice
from intake import sandbox
from intake.library import own_model, own_models
from intake.limits import GIB, KEPT_FREE_BYTES
from intake.preprocessing import Preprocessing
from intake.sources import OnnxFile
from intake.uploads import kept_bytes
from tests.experiments.brought import SIDE, image_zip, onnx_file

pytestmark = pytest.mark.skipif(sandbox.why_unavailable() is not None, reason="no sandbox on this machine")
INPUT = Preprocessing(height=SIDE, width=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STUDIO_DATA", str(tmp_path / "data"))
    return tmp_path


def kept(path: Path, wanted: str) -> str:
    draft = path.parent / f"draft-of-{path.name}"
    draft.mkdir()
    return result_of(keep_checked("", "model" if wanted == "model" else "data", path, draft))


def added(model: Path, images: Path, folder: Path, **changes: object) -> str:
    data = DataChoice(item=kept(images, "data"), train_share=0.25, calibrate_share=0.25)
    order = AddOrder(title="Means", source=OnnxFile(item=kept(model, "model")), input=INPUT, data=data)
    draft = folder / "draft"
    draft.mkdir()
    return result_of(add("", order.model_copy(update=changes), draft))


def test_a_model_is_judged_on_images_that_nothing_else_sees(tmp_path: Path) -> None:
    key = added(onnx_file(tmp_path), image_zip(tmp_path, each=8), tmp_path)
    model, bundle = own_model(key), models.load(key)
    assert model
    assert (model.correct, model.judged) == (12, 12)
    assert model.counts == {"train": 6, "calibrate": 6, "test": 12}
    assert model.labels == ("0-red", "1-green", "2-blue")
    assert (model.form, model.metric, model.parameter_count) == ("onnx", "accuracy", 9)
    splits = (bundle.data.train, bundle.data.calibrate, bundle.data.test)
    seen = {image.tobytes() for split in splits for image in split.pixels}
    assert len(seen) == 24
    brightest = bundle.data.test.pixels.mean((2, 3)).argmax(1)
    assert np.array_equal(brightest, bundle.data.test.targets)
    assert models.find(key).title == "Means"
    assert key in models.offered()
    assert models.sample_images(key, 3)[0].shape == (3, 3, SIDE, SIDE)


def test_without_labels_agreement_with_the_untouched_network_counts(tmp_path: Path) -> None:
    key = added(onnx_file(tmp_path), image_zip(tmp_path, labelled=False), tmp_path)
    model = own_model(key)
    assert model
    assert model.metric == "agreement"
    assert model.correct == model.judged == model.counts["test"]
    brightest = models.load(key).data.calibrate.pixels.mean((2, 3)).argmax(1)
    assert np.array_equal(brightest, models.load(key).data.calibrate.targets)


def test_another_output_and_another_order_of_colours_change_the_answers(tmp_path: Path) -> None:
    from core.onnx_reference import reference

    model, images = onnx_file(tmp_path, outputs=("logits", "negated")), image_zip(tmp_path)
    turned = INPUT.model_copy(update={"colour": "BGR"})
    key = added(model, images, tmp_path, logits="negated", input=turned)
    bundle = models.load(key)
    x = np.random.default_rng(0).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    assert isinstance(bundle.network, OnnxGraph)
    found = reference(bundle.network.content)(x)
    assert np.allclose(found, -x.mean((2, 3))[:, ::-1], atol=1e-5)


def test_a_network_that_guesses_is_doubted(tmp_path: Path) -> None:
    blind = INPUT.model_copy(update={"mean": (0.0, 0.0, -1e6)})
    key = added(onnx_file(tmp_path), image_zip(tmp_path, each=16), tmp_path, input=blind)
    model = own_model(key)
    assert model
    assert any("about what guessing gets" in warning for warning in model.warnings)
    assert any("one and the same class" in warning for warning in model.warnings)


def test_an_input_that_the_graph_does_not_take_is_refused_and_leaves_no_model(tmp_path: Path) -> None:
    larger = INPUT.model_copy(update={"height": 16})
    with pytest.raises(BadInput, match="set to 16 pixels in height; expected 8"):
        added(onnx_file(tmp_path), image_zip(tmp_path), tmp_path, input=larger)
    assert own_models() == []


def test_what_would_be_over_the_quota_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = onnx_file(tmp_path), image_zip(tmp_path, each=8)
    data, source = DataChoice(item=kept(images, "data")), OnnxFile(item=kept(model, "model"))
    order = AddOrder(title="Means", source=source, input=INPUT, data=data)
    (draft := tmp_path / "draft").mkdir()
    room = 24 * (3 * SIDE * SIDE + 8)  # the arrays alone: the network is what is too much
    monkeypatch.setenv("STUDIO_QUOTA_GB", str((kept_bytes("") + room) / GIB))
    with pytest.raises(Refused, match=r"With its 24 images of 3 x 8 x 8 the model takes .* are [0-9,]+ bytes left"):
        result_of(add("", order, draft))
    assert list(draft.iterdir()) == []
    monkeypatch.setenv("STUDIO_QUOTA_GB", "1")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=KEPT_FREE_BYTES + room))
    with pytest.raises(Refused, match="disk of this machine is nearly full"):
        result_of(add("", order, draft))


def test_a_graph_for_any_size_is_fixed_to_the_one_that_was_set(tmp_path: Path) -> None:
    key = added(onnx_file(tmp_path, size=("h", "w")), image_zip(tmp_path), tmp_path)
    network = models.load(key).network
    assert isinstance(network, OnnxGraph)
    dims = onnx.load_from_string(network.content).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims][1:] == [3, SIDE, SIDE]


def test_two_models_never_share_a_title_and_the_same_one_is_added_once(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    keys = [added(onnx_file(folder), image_zip(folder), folder) for folder in folders[:2]]
    keys.append(added(onnx_file(folders[2]), image_zip(folders[2], each=8), folders[2]))
    assert keys[0] == keys[1] != keys[2]
    assert sorted(model.title for model in own_models()) == ["Means", "Means (2)"]
