"""A finished variant as one zip."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

from core.folders import run_folder
from experiments.recipe import Recipe
from experiments.recipe_file import from_yaml
from experiments.store import Store
from optimizers import TECHNIQUES
from tests.pages.left_behind import finished, running

Visit = Callable[..., AppTest]
INT8 = Recipe(model="resnet_fmnist", techniques=(TECHNIQUES["int8"](),), runtime="onnxruntime")
BASELINE = Recipe(model="resnet_fmnist")


def zip_of(run_id: str) -> Path:
    """The zip that the page wrote."""
    return next(run_folder(run_id).glob("*.zip"))


def shown(page: AppTest) -> str:
    """All text and code on the page."""
    return "\n".join(str(element.value) for kind in ("markdown", "caption", "code") for element in page.get(kind))


def test_an_empty_store_says_what_to_press(visit: Visit, store: Store) -> None:
    running(store, BASELINE)
    page = visit("export")
    assert "no run has finished" in page.info[0].value
    page.button(key="go-optimise").click().run()
    assert page.title[0].value == "Optimise"


def test_the_page_names_what_the_zip_holds_and_its_fingerprint(visit: Visit, store: Store) -> None:
    run_id = finished(store, INT8)
    page = visit("export", run=run_id)
    path = zip_of(run_id)
    text = shown(page)
    with zipfile.ZipFile(path) as archive:
        names = [Path(name).name for name in archive.namelist()]
        assert from_yaml(archive.read(f"{path.stem}/recipe.yaml").decode()) == INT8
        assert archive.read(f"{path.stem}/run.py").decode().strip() in text
    assert {"model.onnx", "recipe.yaml", "result.json", "contract.json", "samples.npz", "run.py"} <= set(names)
    assert all(f"- `{name}` " in text for name in names)
    assert "python run.py photo.png" in text
    assert hashlib.sha256(path.read_bytes()).hexdigest() in text
    assert path.name in text
    (link,) = (each.proto.body for each in page.get("html") if "download=" in each.proto.body)
    assert f'href="packages/{run_id}/{path.name}"' in link


def test_options_add_a_server_and_a_triton_repository_and_say_what_was_not_tried(visit: Visit, store: Store) -> None:
    run_id = finished(store, INT8)
    contract = {"shape": [1, 28, 28], "mean": [0], "std": [1], "labels": ["a", "b"]}
    (run_folder(run_id) / "artifact" / "contract.json").write_text(json.dumps(contract))
    page = visit("export", run=run_id)
    plain = shown(page)
    assert "serve.py" not in plain
    assert [tab.label for tab in page.tabs] == ["run.py"]
    page.toggle(key="export.server").set_value(True).run()
    page.toggle(key="export.triton").set_value(True).run()
    assert not page.exception
    text = shown(page)
    name = "resnet_fmnist_onnxruntime_int8"
    for each in ("serve.py", "requirements-server.txt", "Dockerfile", f"model_repository/{name}/", "config.pbtxt"):
        assert f"`{each}`" in text
    assert [tab.label for tab in page.tabs] == ["run.py", "serve.py", "Dockerfile", "config.pbtxt"]
    assert "has not been built here" in text
    assert "has not been loaded by a Triton server here" in text
    with zipfile.ZipFile(next(run_folder(run_id).glob("*-server-triton.zip"))) as archive:
        (config,) = (name for name in archive.namelist() if name.endswith("config.pbtxt"))
        assert archive.read(config).decode().strip() in text
    page.toggle(key="export.server").set_value(False).run()
    page.toggle(key="export.triton").set_value(False).run()
    assert shown(page) == plain


def test_the_address_chooses_the_variant(visit: Visit, store: Store) -> None:
    older = finished(store, BASELINE)
    newer = finished(store, INT8)
    assert visit("export", run=older).selectbox[0].value == older
    page = visit("export")
    assert page.selectbox[0].value == newer
    page.selectbox[0].set_value(older).run()
    assert page.query_params["run"] == older
    assert zip_of(older).name in shown(page)


def test_a_run_that_has_not_finished_is_explained(visit: Visit, store: Store) -> None:
    finished(store, BASELINE)
    assert "has not finished" in visit("export", run=running(store, INT8)).warning[0].value


def test_lost_files_are_one_sentence(visit: Visit, store: Store) -> None:
    run_id = finished(store, BASELINE)
    shutil.rmtree(run_folder(run_id))
    page = visit("export", run=run_id)
    assert "Run its recipe again" in page.error[0].value


def test_a_lost_zip_is_packed_again(visit: Visit, store: Store) -> None:
    run_id = finished(store, BASELINE)
    page = visit("export", run=run_id)
    zip_of(run_id).unlink()
    page.run()
    assert zip_of(run_id).exists()
